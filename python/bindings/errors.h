#pragma once
#include <nanobind/nanobind.h>

#include <atomic>

#include "klens/klens.hpp"

namespace klens::python {

namespace nb = nanobind;

// The class of klens.errors that stands for a status.
nb::object error_class(klens_status status);

// From now on a Failure that leaves a bound function is raised as the class of its status.
void bind_errors();

// Throws a Failure (KLENS_BAD_ARGUMENT).
[[noreturn]] void throw_bad_argument(const char* what);

// What may serve one call at a time. A second one, from another thread or from a progress function,
// fails in place of a race.
class InUse {
 public:
  explicit InUse(std::atomic_flag& flag, const char* what) : flag_(flag) {
    if (flag_.test_and_set(std::memory_order_acquire)) throw_bad_argument(what);
  }
  ~InUse() { flag_.clear(std::memory_order_release); }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  std::atomic_flag& flag_;
};

}  // namespace klens::python
