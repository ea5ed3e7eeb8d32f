#include "apps/serve/mailbox.h"

namespace klens::apps {

void Mailbox::put(Piece piece) {
  {
    const std::lock_guard lock(mutex_);
    pieces_.push_back(std::move(piece));
  }
  arrived_.notify_one();
}

std::vector<Piece> Mailbox::take(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, patience, [&] { return !pieces_.empty(); });
  return std::exchange(pieces_, {});
}

}  // namespace klens::apps
