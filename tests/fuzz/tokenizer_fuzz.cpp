// The first line is a tokenizer.json; what follows is a text to encode, and bytes that are ids to
// decode.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "loaders/tokenizer/tokenizer.h"
#include "loaders/tokenizer/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  const std::string_view text = line == input.npos ? "" : input.substr(line + 1);
  try {
    const auto tokenizer = klens::Tokenizer::from_json(input.substr(0, line), "fuzz");
    std::vector<int32_t> ids = tokenizer.encode(text, true);
    for (const char c : text.substr(0, 64)) ids.push_back(c);
    for (const bool skip : {false, true}) {
      klens::StreamDecoder decoder(tokenizer, skip);
      std::string streamed;
      for (const int32_t id : ids) {
        const std::string part = decoder.push(id);
        if (!klens::utf8::is_valid(part)) std::abort();
        streamed += part;
      }
      if (streamed + decoder.finish() != tokenizer.decode(ids, skip)) std::abort();
    }
  } catch (const klens::Error&) {
  }
  return 0;
}
