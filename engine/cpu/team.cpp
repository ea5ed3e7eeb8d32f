#include "engine/cpu/team.h"

#include <immintrin.h>

#include <algorithm>
#include <utility>

namespace klens {
namespace {

// How long an idle worker stays awake: longer than what lies between the passes of a sequence that
// is being generated, sampling included.
constexpr auto kAwake = std::chrono::microseconds(400);
// A wait that is worth working alone for twenty times as long, or so.
constexpr auto kStalled = std::chrono::milliseconds(1);
constexpr auto kLongestAlone = std::chrono::milliseconds(200);
// Turns of waiting, about 20 ns each, between looks at the clock, or before a core is offered to
// whom it was taken from.
constexpr int kSpins = 256;

constexpr uint64_t ticket_of(uint64_t parts, uint64_t next) { return parts << 32 | next; }
constexpr bool open(uint64_t ticket) { return (ticket & 0xffffffff) < ticket >> 32; }

}  // namespace

Team::Team(int threads) {
  workers_.reserve(static_cast<size_t>(threads));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {
    end();  // those that could be started
    throw;
  }
}

Team::~Team() { end(); }

void Team::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::run_parts(int64_t parts, Call* call, const void* body) {
  const Clock::time_point begin = Clock::now();
  const bool alone = busy_.exchange(true, std::memory_order_acquire);
  if (alone || begin < alone_until_) {
    if (!alone) busy_.store(false, std::memory_order_release);
    for (int64_t part = 0; part < parts; ++part) call(body, part);
    return;
  }
  start(parts, call, body);
  int64_t own = 0;
  while (work_one()) ++own;
  wait_for(parts, begin, own);
  const std::exception_ptr error = std::exchange(error_, nullptr);
  busy_.store(false, std::memory_order_release);
  if (error) std::rethrow_exception(error);
}

void Team::start(int64_t parts, Call* call, const void* body) {
  call_ = call;
  body_ = body;
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(ticket_of(static_cast<uint64_t>(parts), 0));
  if (asleep_.load() == 0) return;
  // Whoever is about to sleep holds the mutex until it can be woken.
  { const std::lock_guard lock(mutex_); }
  wake_.notify_all();
}

// A worker that has not finished its part four parts' time after the caller's last is not running.
void Team::wait_for(int64_t parts, Clock::time_point begin, int64_t own) {
  const auto finished = [&] { return done_.load(std::memory_order_acquire) == parts; };
  for (int turn = 0; turn < kSpins; ++turn) {
    if (finished()) return;
    _mm_pause();
  }
  const Clock::time_point since = Clock::now();
  for (int turn = 1; !finished(); ++turn) {
    if (turn % kSpins == 0) std::this_thread::yield();
    _mm_pause();
  }
  const auto waited = Clock::now() - since;
  if (waited > kStalled && waited > 4 * (since - begin) / std::max<int64_t>(own, 1))
    alone_until_ = since + waited + std::min<Clock::duration>(20 * waited, kLongestAlone);
}

// Claims a part and does it; false if there is none.
bool Team::work_one() {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if (!open(ticket)) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
  try {
    call_(body_, static_cast<int64_t>(ticket & 0xffffffff));
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

void Team::work() {
  Clock::time_point since = Clock::now();
  for (int turn = 1;; ++turn) {
    if (work_one()) {
      turn = 0;
      continue;
    }
    _mm_pause();
    if (turn % kSpins != 0) continue;
    const Clock::time_point now = Clock::now();
    if (turn == kSpins) since = now;
    if (now - since < kAwake && !ending_.load(std::memory_order_relaxed)) continue;
    std::unique_lock lock(mutex_);
    asleep_.fetch_add(1);
    wake_.wait(lock, [&] { return ending_ || open(ticket_.load()); });
    asleep_.fetch_sub(1);
    if (ending_) return;
    turn = 0;
  }
}

}  // namespace klens
