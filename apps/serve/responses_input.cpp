#include "apps/serve/responses_input.h"

#include <utility>

namespace klens::apps {
namespace {

std::string needed_text(const Json& item, const char* key) {
  const auto at = item.find(key);
  if (at == item.end() || !at->is_string())
    throw ApiError(400, std::string("an item of input has no text ") + key, "input");
  return at->get<std::string>();
}

// Consecutive calls, and what was said before them, are one message.
Json& calling_message(Json& messages) {
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", Json()}});
  if (!messages.back().contains("tool_calls")) messages.back()["tool_calls"] = Json::array();
  return messages.back();
}

std::string reasoning_of(const Json& item) {
  std::string text;
  if (const auto content = item.find("content"); content != item.end() && content->is_array())
    for (const Json& part : *content)
      if (part.is_object() && part.value("text", Json()).is_string())
        text += part["text"].get<std::string>();
  return text;
}

// What the model thought belongs to what it said next.
void add_item(const Json& item, Json& messages, std::string& thoughts) {
  if (!item.is_object()) throw ApiError(400, "each item of input must be an object", "input");
  const std::string type = item.contains("type") ? needed_text(item, "type") : "message";
  if (type == "message") {
    Json message = {{"role", needed_text(item, "role")},
                    {"content", item.value("content", Json())}};
    if (message["role"] == "assistant" && !thoughts.empty())
      message["reasoning_content"] = std::exchange(thoughts, "");
    messages.push_back(std::move(message));
  } else if (type == "function_call") {
    Json& message = calling_message(messages);
    if (!thoughts.empty()) message["reasoning_content"] = std::exchange(thoughts, "");
    message["tool_calls"].push_back(
        {{"id", needed_text(item, "call_id")},
         {"type", "function"},
         {"function",
          {{"name", needed_text(item, "name")}, {"arguments", needed_text(item, "arguments")}}}});
  } else if (type == "function_call_output") {
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", needed_text(item, "call_id")},
                        {"content", item.value("output", Json())}});
  } else if (type == "reasoning") {
    thoughts = reasoning_of(item);
  } else {
    throw ApiError(400, "input has an item of a type that is not supported: " + type.substr(0, 60),
                   "input");
  }
}

}  // namespace

Json messages_of_input(const Fields& fields) {
  Json messages = Json::array();
  if (const auto instructions = fields.text("instructions"))
    messages.push_back({{"role", "system"}, {"content", *instructions}});
  const Json* input = fields.find("input");
  if (input == nullptr) fields.refuse("input", "is missing");
  if (input->is_string()) {
    messages.push_back({{"role", "user"}, {"content", *input}});
    return messages;
  }
  if (!input->is_array() || input->empty())
    fields.refuse("input", "must be a text, or a list of items");
  std::string thoughts;
  for (const Json& item : *input) add_item(item, messages, thoughts);
  return messages;
}

Tools tools_of_input(const Fields& fields) {
  Json functions = Json::array();
  if (const Json* tools = fields.list("tools"))
    for (const Json& tool : *tools) {
      if (!tool.is_object() || tool.value("type", Json()) != "function") continue;
      Json function = tool;
      function.erase("type");
      function.erase("strict");
      functions.push_back({{"type", "function"}, {"function", std::move(function)}});
    }
  return Tools(functions);
}

}  // namespace klens::apps
