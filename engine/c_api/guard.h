#pragma once
#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/c_api/memory_reserve.h"
#include "klens/klens.h"

namespace klens {

klens_status status_of(ErrorKind kind);

// Writes one line into error, if given; returns status. Allocates nothing.
klens_status report(klens_error* error, klens_status status, std::string_view message) noexcept;

// Runs body and turns whatever it throws into a status: nothing thrown leaves the library.
klens_status report_current_exception(klens_error* error) noexcept;

template <class Body>
klens_status guarded(klens_error* error, const Body& body) noexcept {
  try {
    hold_memory_reserve();
    body();
    return KLENS_OK;
  } catch (...) {
    return report_current_exception(error);
  }
}

// Throws Error (kBadArgument) unless the caller's struct, of `given` bytes, can be read as one of
// `known` bytes: it is as long, or older and shorter, or newer and all that it has more is zero.
void check_size(const void* options, size_t given, size_t known);

// A copy of the caller's options; zeros, which are defaults, for null and for fields that an older
// caller's struct has not. Throws as check_size.
template <class Options>
Options read_options(const Options* options) {
  Options copy{};
  if (options == nullptr) return copy;
  size_t size = 0;  // all that can be said of the struct before it is known to be one
  std::memcpy(&size, options, sizeof size);
  check_size(options, size, sizeof copy);
  std::memcpy(&copy, options, std::min(size, sizeof copy));
  return copy;
}

// Throws Error unless the pointer is there.
void require(const void* pointer, const char* argument);

// Throws Error (kBadArgument) with `what` unless good.
inline void check_range(bool good, const char* what) {
  if (!good) throw Error(ErrorKind::kBadArgument, what);
}

// A copy that klens_string_free frees.
char* owned_text(const std::string& text);

}  // namespace klens
