#include "engine/c_api/memory_reserve.h"

#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>

namespace klens {
namespace {

// Mapped apart by malloc, so untouched: no memory is used, but it counts where that is limited.
class Reserve {
 public:
  void hold(size_t bytes) noexcept {
    if (held_.load(std::memory_order_relaxed) != nullptr) return;
    void* expected = nullptr;
    void* more = std::malloc(bytes);
    if (!held_.compare_exchange_strong(expected, more)) std::free(more);
  }
  bool release() noexcept {
    void* held = held_.exchange(nullptr);
    std::free(held);
    return held != nullptr;
  }

 private:
  std::atomic<void*> held_{nullptr};
};

Reserve small_part, large_part;
std::new_handler previous = nullptr;

void on_no_memory() {
  const bool unwinding = std::uncaught_exceptions() > 0;
  if (small_part.release()) return;
  if (large_part.release() && unwinding) return;
  if (previous != nullptr) return previous();
  throw std::bad_alloc();
}

bool install() noexcept {
  previous = std::set_new_handler(on_no_memory);
  return true;
}

}  // namespace

void hold_memory_reserve() noexcept {
  static const bool installed = install();
  if (!installed) return;
  small_part.hold(size_t{256} << 10);
  large_part.hold(size_t{1} << 20);
}

}  // namespace klens
