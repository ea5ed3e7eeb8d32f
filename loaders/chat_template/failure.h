#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>

namespace klens::jinja {

// Something is wrong with the template or what it does. Whoever knows the place turns it into an
// Error.
class Failure : public std::runtime_error {
 public:
  enum class Kind { kBad, kUnsupported, kRaised };  // kRaised: by raise_exception()
  Failure(Kind why, const std::string& what) : std::runtime_error(what), kind(why) {}
  const Kind kind;
  int line = 0;  // 0: not known yet
};

[[noreturn]] inline void fail(const std::string& what) { throw Failure(Failure::Kind::kBad, what); }
[[noreturn]] inline void unsupported(const std::string& what) {
  throw Failure(Failure::Kind::kUnsupported, what);
}

// No text that a template makes may be longer.
inline constexpr size_t kMaxText = size_t{64} << 20;
inline void check_text_size(size_t size) {
  if (size > kMaxText) fail("the template makes a text of more than 64 MiB");
}

}  // namespace klens::jinja
