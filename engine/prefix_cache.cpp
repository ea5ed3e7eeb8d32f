#include "engine/prefix_cache.h"

#include <algorithm>

#include "loaders/error.h"

namespace klens {

int64_t PrefixCache::prompt(Session& session, std::span<const int32_t> ids) {
  if (&session.model() != model_.get())
    throw Error(ErrorKind::kBadArgument, "the prefix cache is of another model than the session");
  model_->check_ids(ids);
  if (const auto nearest = find(ids, session.agrees_with(ids))) session.become(*nearest);
  const int64_t reused = session.prompt(ids);
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
  auto copy = std::make_shared<const Session>(session);
  const std::lock_guard lock(mutex_);
  // What the new prompt begins with is in it.
  kept_.remove_if([&](const auto& old) {
    return old->ids().size() <= copy->ids().size() &&
           std::equal(old->ids().begin(), old->ids().end(), copy->ids().begin());
  });
  kept_.push_front(std::move(copy));
  size_t total = 0;
  for (auto at = kept_.begin(); at != kept_.end();) {
    total += (*at)->bytes();
    at = total > max_bytes_ ? kept_.erase(at) : std::next(at);
  }
}

size_t PrefixCache::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& session : kept_) total += session->bytes();
  return total;
}

}  // namespace klens
