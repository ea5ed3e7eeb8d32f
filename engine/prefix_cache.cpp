#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/error.h"

namespace klens {

int64_t PrefixCache::prompt(Session& session, std::span<const int32_t> ids,
                            const AfterPass& after_pass) {
  if (&session.model() != model_.get())
    throw Error(ErrorKind::kBadArgument, "the prefix cache is of another model than the session");
  model_->check_ids(ids);
  if (const auto nearest = find(ids, session.agrees_with(ids))) session.become(*nearest);
  const int64_t reused = session.prompt(ids, after_pass);
  keep(session);
  return reused;
}

std::shared_ptr<const Session> PrefixCache::find(std::span<const int32_t> ids, int64_t more_than) {
  const std::lock_guard lock(mutex_);
  auto best = kept_.end();
  for (auto at = kept_.begin(); at != kept_.end(); ++at) {
    const int64_t agrees = (*at)->agrees_with(ids);
    if (agrees <= more_than) continue;
    more_than = agrees;
    best = at;
  }
  if (best == kept_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, best);
  return kept_.front();
}

void PrefixCache::keep(const Session& session) {
  // What is read again from a kept prompt: nothing, or the last token of it.
  const auto holds = [](const Session& kept, const Session& other) {
    return kept.agrees_with(other.ids()) >= other.position() - 1;
  };
  {
    const std::lock_guard lock(mutex_);
    for (auto at = kept_.begin(); at != kept_.end(); ++at)
      if (holds(**at, session)) return kept_.splice(kept_.begin(), kept_, at);
  }
  auto copy = std::make_shared<const Session>(session);
  const std::lock_guard lock(mutex_);
  kept_.remove_if([&](const auto& old) { return holds(*copy, *old); });
  kept_.push_front(std::move(copy));
  Counted counted;
  for (auto at = kept_.begin(); at != kept_.end();) {
    counted.add(**at);
    at = counted.bytes > max_bytes_ ? kept_.erase(at) : std::next(at);
  }
}

// A session that is forked, or goes on, shares its checkpoints with the one that was kept before.
void PrefixCache::Counted::add(const Session& session) {
  bytes += session.state_bytes();
  for (const auto& point : session.checkpoints())
    if (points.insert(point.get()).second) bytes += point->bytes();
}

size_t PrefixCache::bytes() const {
  const std::lock_guard lock(mutex_);
  Counted counted;
  for (const auto& session : kept_) counted.add(*session);
  return counted.bytes;
}

}  // namespace klens
