// For grammar_fuzz.cpp and json_schema_fuzz.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "loaders/grammar/matcher.h"

namespace klens::grammar {

inline std::shared_ptr<const TokenTable> tokens() {
  static const auto table = [] {
    std::vector<std::string> bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
    bytes.insert(bytes.end(), {"</s>", "\": ", "ab", "}}", "1.5", "                    "});
    return std::make_shared<const TokenTable>(std::move(bytes), std::vector<int32_t>{256});
  }();
  return table;
}

// What parse(text) makes of all before a line of three dots is fed what follows it: the mask must
// say of each byte what feeding it does.
template <class Parse>
int feed_grammar(const uint8_t* data, size_t size, const Parse& parse) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find("\n...\n");
  const std::string_view text = line == input.npos ? "" : input.substr(line + 5, 64);
  try {
    Matcher matcher(std::make_shared<const Constraint>(parse(input.substr(0, line)), tokens()));
    std::vector<uint64_t> mask(matcher.mask_words());
    for (const char c : text) {
      matcher.mask(mask);
      const auto byte = static_cast<uint8_t>(c);
      const bool may = (mask[byte / 64] >> (byte % 64) & 1) != 0;
      if (matcher.accept(byte) != may) std::abort();
      if (!may) break;
    }
  } catch (const klens::Error&) {
  }
  return 0;
}

}  // namespace klens::grammar
