// The input is a template, rendered with messages and tools.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "loaders/chat_template/chat_template.h"
#include "loaders/tokenizer/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nlohmann::json context = nlohmann::json::parse(
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":" a\n"},
      {"role":"assistant","content":"b","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]}],
      "tools":[{"type":"function","function":{"name":"f","n":null,"r":1.5}}],
      "add_generation_prompt":true,"bos_token":"<s>","eos_token":"</s>"})");
  try {
    const auto parsed =
        klens::ChatTemplate::parse({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (!klens::utf8::is_valid(parsed.render(context))) std::abort();
  } catch (const klens::Error&) {
  }
  return 0;
}
