#pragma once
#include <cstring>
#include <new>
#include <string>

#include "klens/klens.h"
#include "loaders/error.h"

namespace klens {

// Writes one line into error, if given; returns status.
klens_status report(klens_error* error, klens_status status, const std::string& message) noexcept;

// Runs body and turns whatever it throws into a status: nothing thrown leaves the library.
klens_status report_current_exception(klens_error* error) noexcept;

template <class Body>
klens_status guarded(klens_error* error, const Body& body) noexcept {
  try {
    body();
    return KLENS_OK;
  } catch (...) {
    return report_current_exception(error);
  }
}

// A copy of the caller's options; zeros for null. Throws Error if `size` was not set to the sizeof
// of this version or an older one.
template <class Options>
Options read_options(const Options* options) {
  Options copy{};
  if (options == nullptr) return copy;
  if (options->size < sizeof options->size || options->size > sizeof copy)
    throw Error(ErrorKind::kBadArgument,
                "an options struct's size field is " + std::to_string(options->size) +
                    ", expected its sizeof, " + std::to_string(sizeof copy));
  std::memcpy(&copy, options, options->size);
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
