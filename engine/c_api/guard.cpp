#include "engine/c_api/guard.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace klens {
klens_status status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kBadArgument:
      return KLENS_BAD_ARGUMENT;
    case ErrorKind::kIo:
      return KLENS_IO;
    case ErrorKind::kBadFile:
      return KLENS_BAD_FILE;
    case ErrorKind::kUnsupported:
      return KLENS_UNSUPPORTED;
    case ErrorKind::kNoMemory:
      return KLENS_NO_MEMORY;
    case ErrorKind::kInterrupted:
      return KLENS_INTERRUPTED;
  }
  return KLENS_INTERNAL;
}

namespace {

klens_status report_thread(klens_error* error, const char* what) noexcept {
  char text[sizeof error->message];
  std::snprintf(
      text, sizeof text,
      "no thread can be started (%s); allow more of them or more memory (ulimit -u, -v, a "
      "container's limits), or end other programs",
      what);
  return report(error, KLENS_NO_MEMORY, text);
}

}  // namespace

klens_status report(klens_error* error, klens_status status, std::string_view message) noexcept {
  if (error == nullptr) return status;
  error->status = status;
  size_t length = std::min(message.size(), sizeof error->message - 1);
  // A cut must not split a UTF-8 character: step back over continuation bytes.
  while (length < message.size() && length > 0 &&
         (static_cast<unsigned char>(message[length]) & 0xc0) == 0x80)
    --length;
  std::transform(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length),
                 error->message,
                 [](char c) { return static_cast<unsigned char>(c) < ' ' ? ' ' : c; });
  error->message[length] = '\0';
  return status;
}

klens_status report_current_exception(klens_error* error) noexcept {
  try {
    throw;
  } catch (const Error& e) {
    return report(error, status_of(e.kind()), e.what());
  } catch (const std::bad_alloc&) {
    return report(error, KLENS_NO_MEMORY,
                  "out of memory; close other programs, or use a smaller model, -b or -c");
  } catch (const std::system_error& e) {
    return report_thread(error, e.what());
  } catch (const std::exception& e) {
    // oneTBB has no type of its own for this.
    if (std::strstr(e.what(), "pthread_create") != nullptr) return report_thread(error, e.what());
    char text[sizeof error->message];
    std::snprintf(text, sizeof text, "internal error: %s", e.what());
    return report(error, KLENS_INTERNAL, text);
  } catch (...) {
    return report(error, KLENS_INTERNAL, "internal error");
  }
}

void check_size(const void* options, size_t given, size_t known) {
  // Longer than any struct of options will be: a size that was not set, whose end is not ours to
  // read.
  constexpr size_t kMost = 4096;
  if (given < sizeof(size_t) || given > kMost)
    throw Error(ErrorKind::kBadArgument, "an options struct's size field is " +
                                             std::to_string(given) + ", expected its sizeof, " +
                                             std::to_string(known));
  const auto* bytes = static_cast<const unsigned char*>(options);
  if (given > known && std::any_of(bytes + known, bytes + given, [](unsigned char b) { return b; }))
    throw Error(ErrorKind::kBadArgument, "an options struct of " + std::to_string(given) +
                                             " bytes sets a field that this klens, which knows " +
                                             std::to_string(known) +
                                             ", lacks: leave it zero, or use a newer klens");
}

void require(const void* pointer, const char* argument) {
  if (pointer == nullptr)
    throw Error(ErrorKind::kBadArgument, std::string("argument ") + argument + " is NULL");
}

char* owned_text(const std::string& text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace klens
