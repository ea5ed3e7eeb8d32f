// A JSON schema, a line of three dots, and a text that is fed to it.
#include "loaders/grammar/json_schema.h"
#include "tests/fuzz/fed_grammar.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return klens::grammar::feed_grammar(data, size, [](std::string_view text) {
    return klens::grammar::parse_json_schema(text, "fuzz");
  });
}
