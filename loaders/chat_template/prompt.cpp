#include "loaders/chat_template/prompt.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "loaders/chat_template/chat_template.h"
#include "loaders/json.h"

namespace klens {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

json tokenizer_config(const ModelTexts& texts, const std::string& name) {
  if (texts.tokenizer_config.empty()) return json::object();
  json config = parse_json(texts.tokenizer_config, name + " (tokenizer_config.json)");
  return config.is_object() ? config : json::object();
}

// The text of a special token: a string, or an object with its content; null for none.
json token_text(const json& token) {
  if (token.is_string()) return token;
  const auto content = token.is_object() ? token.find("content") : token.end();
  return token.is_object() && content != token.end() && content->is_string() ? *content
                                                                             : json(nullptr);
}

void add_special_tokens(const json& config, ordered_json& context) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                          "cls_token", "mask_token"}) {
    const auto found = config.find(key);
    if (found == config.end()) continue;
    if (const json text = token_text(*found); text.is_string())
      context[key] = text.get<std::string>();
  }
  const auto more = config.find("additional_special_tokens");
  if (more == config.end() || !more->is_array()) return;
  context["additional_special_tokens"] = ordered_json::array();
  for (const json& token : *more)
    if (const json text = token_text(token); text.is_string())
      context["additional_special_tokens"].push_back(text.get<std::string>());
}

// The names of the templates that tokenizer_config.json lists.
std::string listed_names(const json& config) {
  const auto list = config.find("chat_template");
  std::string names;
  if (list == config.end() || !list->is_array()) return names;
  for (const json& entry : *list)
    if (entry.is_object() && entry.value("name", json()).is_string())
      names += (names.empty() ? "" : ", ") + brief(entry["name"].get<std::string>());
  return names;
}

// The template of this name in tokenizer_config.json's list; "" if there is none.
std::string listed_template(const json& config, const std::string& name) {
  const auto list = config.find("chat_template");
  if (list == config.end() || !list->is_array()) return "";
  for (const json& entry : *list)
    if (entry.is_object() && entry.value("name", json()) == name &&
        entry.value("template", json()).is_string())
      return entry["template"].get<std::string>();
  return "";
}

std::string chosen_template(const ModelTexts& texts, const json& config, bool with_tools,
                            const std::string& name) {
  if (with_tools)
    if (std::string tools = listed_template(config, "tool_use"); !tools.empty()) return tools;
  if (!texts.chat_template.empty()) return texts.chat_template;
  const std::string names = listed_names(config);
  if (names.empty()) throw Error(ErrorKind::kUnsupported, name + ": has no chat template");
  throw Error(ErrorKind::kUnsupported,
              name + ": has several chat templates (" + names +
                  ") and none is the default; put the one you want beside the model as "
                  "chat_template.jinja");
}

// As transformers prepares messages: keys without a value are left out, and a reasoning has all of
// its names.
ordered_json prepared(const ordered_json& messages) {
  ordered_json out = ordered_json::array();
  for (const ordered_json& message : messages) {
    if (!message.is_object())
      throw Error(ErrorKind::kBadArgument, "every message must be an object");
    ordered_json kept = ordered_json::object();
    for (const auto& [key, value] : message.items())
      if (!value.is_null()) kept[key] = value;
    for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
      if (!kept.contains(key)) continue;
      const ordered_json reasoning = kept[key];
      if (!kept.contains("thinking")) kept["thinking"] = reasoning;
      kept["reasoning_content"] = reasoning;
      break;
    }
    out.push_back(std::move(kept));
  }
  return out;
}

ordered_json with_parts(const ordered_json& messages) {
  ordered_json out = messages;
  for (ordered_json& message : out)
    if (message.contains("content") && message["content"].is_string())
      message["content"] = ordered_json::array({{{"type", "text"}, {"text", message["content"]}}});
  return out;
}

// Whether the template prints a content that is a list of parts, but not one that is a text.
bool wants_parts(const ChatTemplate& chat_template, const ordered_json& context) {
  constexpr const char* kContent = "klens-content";
  const auto prints = [&](const ordered_json& messages) {
    ordered_json probe = context;
    probe["messages"] = messages;
    try {
      return chat_template.render_ordered(probe).find(kContent) != std::string::npos;
    } catch (const Error&) {
      return false;
    }
  };
  const ordered_json message = ordered_json::array({{{"role", "user"}, {"content", kContent}}});
  return !prints(message) && prints(with_parts(message));
}

}  // namespace

bool has_chat_template(const ModelTexts& texts) {
  if (!texts.chat_template.empty()) return true;
  try {
    return !listed_names(tokenizer_config(texts, "model")).empty();
  } catch (const Error&) {
    return false;
  }
}

std::string chat_prompt(const ModelTexts& texts, const std::string& name,
                        const std::string& messages_text, bool add_generation_prompt) {
  const json config = tokenizer_config(texts, name);
  ordered_json given = parse_ordered_json(messages_text, "messages");
  if (given.is_array()) given = {{"messages", given}};
  if (!given.is_object() || !given.contains("messages") || !given["messages"].is_array())
    throw Error(ErrorKind::kBadArgument,
                "messages must be a JSON list of {\"role\",\"content\"}, or an object with that "
                "list as messages");
  ordered_json context = {{"messages", nullptr},
                          {"tools", nullptr},
                          {"documents", nullptr},
                          {"add_generation_prompt", add_generation_prompt}};
  add_special_tokens(config, context);
  for (const auto& [key, value] : given.items()) context[key] = value;
  context["messages"] = prepared(given["messages"]);
  const std::string source = chosen_template(texts, config, !context["tools"].is_null(), name);
  const ChatTemplate chat_template = ChatTemplate::parse(source, name + " (chat template)");
  if (wants_parts(chat_template, context)) context["messages"] = with_parts(context["messages"]);
  return chat_template.render_ordered(context);
}

}  // namespace klens
