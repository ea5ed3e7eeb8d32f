#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/error.h"

namespace klens {

namespace {

// The largest whole number of blocks that the session can go back to and that `ids` begins with.
int64_t whole_blocks_of(const Session& session, std::span<const int32_t> ids) {
  int64_t at = session.agrees_with(ids);
  while (at % kSequenceBlock != 0) at = session.reachable(at / kSequenceBlock * kSequenceBlock);
  return at;
}

}  // namespace

void PrefixCache::check_model(const Session& session) const {
  if (&session.model() != model_.get())
    throw Error(ErrorKind::kBadArgument, "the prefix cache is of another model than the session");
}

PrefixCache::Taken PrefixCache::take(Session& session, std::span<const int32_t> ids) {
  check_model(session);
  model_->check_ids(ids);
  Taken taken;
  const auto nearest = find(0, [&](const Session& kept) {
    const std::vector<int32_t>& known = kept.ids();
    const auto differs = std::mismatch(known.begin(), known.end(), ids.begin(), ids.end()).first;
    taken.shared = std::max<int64_t>(taken.shared, differs - known.begin());
    return whole_blocks_of(kept, ids);
  });
  if (nearest == nullptr) {
    session.reset();
  } else {
    session.become(*nearest);
    // Its own options may have it keep fewer checkpoints than the one that was kept.
    taken.reused = session.rewind(whole_blocks_of(session, ids));
  }
  return taken;
}

int64_t PrefixCache::prompt(Session& session, std::span<const int32_t> ids,
                            const AfterPass& after_pass) {
  check_model(session);
  model_->check_ids(ids);
  const auto nearest =
      find(session.agrees_with(ids), [&](const Session& kept) { return kept.agrees_with(ids); });
  if (nearest != nullptr) session.become(*nearest);
  const int64_t reused = session.prompt(ids, after_pass);
  keep(session);
  return reused;
}

std::shared_ptr<const Session> PrefixCache::find(
    int64_t more_than, const std::function<int64_t(const Session&)>& reaches) {
  const std::lock_guard lock(mutex_);
  auto best = kept_.end();
  for (auto at = kept_.begin(); at != kept_.end(); ++at) {
    const int64_t reached = reaches(**at);
    if (reached <= more_than) continue;
    more_than = reached;
    best = at;
  }
  if (best == kept_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, best);
  return kept_.front();
}

void PrefixCache::keep(const Session& session) {
  check_model(session);
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
