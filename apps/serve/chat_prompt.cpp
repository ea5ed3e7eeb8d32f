#include "apps/serve/chat_prompt.h"

#include <algorithm>

#include "apps/cli/output.h"
#include "apps/serve/answer_parser.h"
#include "apps/serve/call_syntax.h"

namespace klens::apps {
namespace {

std::string text_of_parts(const Json& parts) {
  std::string text;
  for (const Json& part : parts) {
    const std::string type =
        part.is_object() ? part.value("type", Json("")).is_string() ? part.value("type", "") : ""
                         : "";
    if ((type != "text" && type != "input_text" && type != "output_text") ||
        !part.contains("text") || !part["text"].is_string())
      throw ApiError(400, "contents may have parts of type text only", "messages");
    text += part["text"].get<std::string>();
  }
  return text;
}

Json calls_for_template(const Json& calls) {
  if (!calls.is_array()) throw ApiError(400, "tool_calls must be a list", "messages");
  Json out = calls;
  for (Json& call : out) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object() ||
        !call["function"].contains("name") || !call["function"]["name"].is_string())
      throw ApiError(400, "each of tool_calls needs a function with a name", "messages");
    Json& function = call["function"];
    const auto given = function.find("arguments");
    if (given == function.end() || given->is_null() || *given == "") {
      function["arguments"] = Json::object();
    } else if (given->is_string()) {
      // Templates write arguments as JSON themselves.
      const std::optional<Json> arguments = parse_json(given->get<std::string>());
      if (!arguments || !arguments->is_object())
        throw ApiError(400, "arguments of tool_calls must be a JSON object", "messages");
      function["arguments"] = *arguments;
    }
  }
  return out;
}

std::string rendered(const Service& service, const Json& context, bool for_answer) {
  const std::string json = compact(context);
  return text_of([&](char** text, klens_error* e) {
    return klens_chat_prompt(service.model, json.c_str(), for_answer ? 1 : 0, text, e);
  });
}

// How many of ids the prompt of these messages has too, with no answer to follow; 0 where the
// template knows no such conversation.
size_t shared_with(const Service& service, Json context, size_t messages, const std::string& text,
                   const std::vector<int32_t>& ids) {
  Json& list = context["messages"];
  list.erase(list.begin() + static_cast<ptrdiff_t>(messages), list.end());
  try {
    const std::string other = rendered(service, context, false);
    const auto differs = std::mismatch(other.begin(), other.end(), text.begin(), text.end());
    const std::vector<int32_t> begin =
        tokens_of(service, std::string(other.begin(), differs.first), false);
    return static_cast<size_t>(
        std::mismatch(begin.begin(), begin.end(), ids.begin(), ids.end()).first - begin.begin());
  } catch (const Failure&) {
    return 0;
  }
}

// What a template is told beside messages.
Json context_of(const Json* variables) {
  Json context = variables != nullptr ? *variables : Json::object();
  context.erase("add_generation_prompt");
  context.erase("tools");
  return context;
}

// How the template writes a call; nothing where it cannot, or as no style of ours does.
std::optional<CallSyntax> syntax_of_template(const Service& service, Json context) {
  context["messages"] = Json::array({{{"role", "user"}, {"content", "?"}}});
  try {
    const std::string question = rendered(service, context, false);
    context["messages"].push_back(
        {{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array({probe_call()})}});
    const std::string all = rendered(service, context, false);
    const auto differs =
        std::mismatch(all.begin(), all.end(), question.begin(), question.end()).first;
    return syntax_of(std::string(differs, all.end()));
  } catch (const Failure&) {
    return std::nullopt;
  }
}

// Throws what is wrong with a tool's schema as the request has it; what stands for all of them in
// the grammar of calls is nothing that a client knows.
void check_parameters(Service& service, const Tools& tools) {
  for (const Json& tool : tools.list()) {
    const Json& function = tool["function"];
    if (const Json parameters = function.value("parameters", Json()); parameters.is_object())
      service.grammars.get(KLENS_GRAMMAR_JSON_SCHEMA, compact(parameters),
                           "parameters of " + function["name"].get<std::string>());
  }
}

std::vector<std::string> known_markers(const Service& service) {
  std::vector<std::string> known;
  for (const ToolStyle& style : tool_styles())
    if (tokens_of(service, style.open, false).size() == 1) known.emplace_back(style.open);
  return known;
}

}  // namespace

Json template_messages(const Json& list) {
  Json messages = Json::array();
  if (list.empty()) throw ApiError(400, "messages is empty", "messages");
  for (const Json& given : list) {
    if (!given.is_object() || !given.contains("role") || !given["role"].is_string())
      throw ApiError(400, "each of messages must be an object with a role", "messages");
    Json message = given;
    if (message["role"] == "developer") message["role"] = "system";
    if (const auto content = message.find("content"); content != message.end()) {
      if (content->is_array())
        *content = text_of_parts(*content);
      else if (!content->is_string() && !content->is_null())
        throw ApiError(400, "content must be a text, or a list of parts", "messages");
    } else if (!message.contains("tool_calls")) {
      throw ApiError(400, "a message has no content", "messages");
    }
    if (const auto calls = message.find("tool_calls"); calls != message.end() && !calls->is_null())
      *calls = calls_for_template(*calls);
    messages.push_back(std::move(message));
  }
  return messages;
}

ChatPrompt chat_prompt(const Service& service, const Json& messages, const Tools& tools,
                       const Json* variables) {
  if (klens_model_has_chat_template(service.model) == 0)
    throw ApiError(400, "this model has no chat template; /v1/completions goes on with a text");
  Json context = context_of(variables);
  context["messages"] = messages;
  ChatPrompt prompt;
  if (!tools.empty()) {
    const std::string without = rendered(service, context, true);
    context["tools"] = tools.list();
    prompt.text = rendered(service, context, true);
    if (prompt.text == without)
      throw ApiError(
          400,
          "this model's chat template knows no tools; start klens serve with --chat-template "
          "FILE, one that does",
          "tools");
  } else {
    prompt.text = rendered(service, context, true);
  }
  prompt.ids = tokens_of(service, prompt.text, false);  // templates write special tokens out
  if (prompt.ids.empty()) throw ApiError(400, "the chat template makes nothing of these messages");
  prompt.end_of_thoughts = end_of_thoughts(prompt.text);
  prompt.thinking = !prompt.end_of_thoughts.empty();
  size_t last_user = messages.size();
  while (last_user > 0 && messages[last_user - 1]["role"] != "user") --last_user;
  prompt.cuts = {shared_with(service, context, messages.size(), prompt.text, prompt.ids)};
  if (last_user > 1)
    prompt.cuts.push_back(shared_with(service, context, last_user - 1, prompt.text, prompt.ids));
  return prompt;
}

void constrain_to_call(Service& service, const std::string& prompt, const Tools& tools,
                       const Json* variables, Ask& ask) {
  Json context = context_of(variables);
  context["tools"] = tools.list();
  std::optional<CallSyntax> syntax = syntax_of_template(service, std::move(context));
  if (!syntax) syntax = usual_syntax(prompt, known_markers(service));
  const CallGrammar call = grammar_of_call(*syntax, tools);
  try {
    ask.grammar = service.grammars.get(KLENS_GRAMMAR_GBNF, call.gbnf, "tools");
  } catch (const Failure&) {
    check_parameters(service, tools);
    throw;
  }
  ask.opening = tokens_of(service, call.opening, false);
}

}  // namespace klens::apps
