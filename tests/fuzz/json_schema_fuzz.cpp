// A JSON schema, a line of three dots, and a text that is fed to it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "loaders/grammar/json_schema.h"
#include "loaders/grammar/matcher.h"

using namespace klens::grammar;

namespace {

std::shared_ptr<const TokenTable> tokens() {
  static const auto table = [] {
    std::vector<std::string> bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
    bytes.insert(bytes.end(), {"</s>", "\": ", "ab", "}}", "1.5", "                    "});
    return std::make_shared<const TokenTable>(std::move(bytes), std::vector<int32_t>{256});
  }();
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find("\n...\n");
  const std::string_view text = line == input.npos ? "" : input.substr(line + 5, 64);
  try {
    Matcher matcher(std::make_shared<const Constraint>(
        parse_json_schema(input.substr(0, line), "fuzz"), tokens()));
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
