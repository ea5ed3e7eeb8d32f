// What clients of klens serve send, and what models say: requests as JSON, and answers with
// thoughts and calls. An answer that comes in pieces must be told as one that comes at once.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "apps/cli/output.h"
#include "apps/serve/answer_parser.h"
#include "apps/serve/chat_prompt.h"
#include "apps/serve/responses_input.h"

using namespace klens::apps;

namespace {

void read_request(const std::string& text) {
  try {
    const Json json = parse_request(text);
    const Fields fields(json);
    if (const Json* tools = fields.list("tools")) compact(Tools(*tools).list());
    if (const Json* messages = fields.list("messages")) compact(template_messages(*messages));
    read_tool_choice(tools_of_input(fields), fields);
    compact(template_messages(messages_of_input(fields)));
  } catch (const ApiError& e) {
    compact(error_json(e));
  }
}

std::string told(std::string_view text, size_t piece, bool thinking, const Tools& tools) {
  AnswerParser parser(thinking, &tools);
  std::string reasoning, content, calls;
  const auto add = [&](const AnswerParts& parts) {
    reasoning += parts.reasoning;
    content += parts.content;
    for (const ToolCall& call : parts.calls) calls += call.name + compact(call.arguments);
  };
  for (size_t at = 0; at < text.size(); at += piece) add(parser.push(text.substr(at, piece)));
  add(parser.finish());
  return reasoning + '\0' + content + '\0' + calls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tools tools(Json::parse(
      R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
          "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}}])"));
  const std::string text(reinterpret_cast<const char*>(data), size);
  read_request(text);
  if (size < 2) return 0;
  const bool thinking = data[0] % 2 == 1;
  const size_t piece = 1 + data[1] % 9;
  const std::string_view answer = std::string_view(text).substr(2);
  if (told(answer, size, thinking, tools) != told(answer, piece, thinking, tools)) std::abort();
  return 0;
}
