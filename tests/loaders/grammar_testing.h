#pragma once
#include <catch2/catch.hpp>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "loaders/grammar/gbnf.h"
#include "loaders/grammar/json_schema.h"
#include "loaders/grammar/matcher.h"

namespace klens::grammar {

// A vocabulary whose tokens are all bytes, and some longer texts; 256 ends a turn.
inline std::shared_ptr<const TokenTable> byte_tokens(const std::vector<std::string>& more = {}) {
  std::vector<std::string> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  bytes.emplace_back("</s>");
  bytes.insert(bytes.end(), more.begin(), more.end());
  return std::make_shared<const TokenTable>(std::move(bytes), std::vector<int32_t>{256});
}

inline Matcher matcher(const Grammar& grammar, const std::vector<std::string>& more = {}) {
  return Matcher(std::make_shared<const Constraint>(grammar, byte_tokens(more)));
}

inline bool accepts(Matcher matcher, const std::string& text) {
  return matcher.accept_bytes(text) && matcher.complete();
}

// Processor time, which other programs do not take; a tenth of it under sanitizers, which take ten
// times as long.
inline double fair_seconds() {
#ifdef KLENS_SANITIZED
  constexpr double kSlower = 10;
#else
  constexpr double kSlower = 1;
#endif
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC / kSlower;
}

// A language, texts in it and texts that are not.
struct LanguageCase {
  std::string source;
  std::vector<std::string> in, out;
};

inline void check_language(const Matcher& start, const LanguageCase& test) {
  INFO(test.source);
  for (const std::string& text : test.in) {
    INFO(text);
    CHECK(accepts(start, text));
  }
  for (const std::string& text : test.out) {
    INFO(text);
    CHECK_FALSE(accepts(start, text));
  }
}

// What parsing says of a text that it refuses; "" if it takes it.
template <class Parse>
std::string refusal(const Parse& parse) {
  try {
    parse();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "";
}

}  // namespace klens::grammar
