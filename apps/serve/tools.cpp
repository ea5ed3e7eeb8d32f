#include "apps/serve/tools.h"

#include <algorithm>
#include <optional>

#include "apps/serve/python_calls.h"

namespace klens::apps {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// What comes up to `end`, which is passed over; nothing where `end` does not come.
std::optional<std::string_view> up_to(std::string_view& text, std::string_view end) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view before = text.substr(0, at);
  text.remove_prefix(at + end.size());
  return before;
}

// {"name","arguments"}, "parameters" for "arguments", or {"function": that}.
std::optional<ToolCall> call_of(const Json& json, const Tools& tools) {
  if (!json.is_object()) return std::nullopt;
  if (const auto inner = json.find("function"); inner != json.end() && inner->is_object())
    return call_of(*inner, tools);
  ToolCall call;
  for (const char* key : {"name", "function"})
    if (const auto name = json.find(key); name != json.end() && name->is_string())
      call.name = name->get<std::string>();
  if (!tools.has(call.name)) return std::nullopt;
  call.arguments = Json::object();
  for (const char* key : {"arguments", "parameters"})
    if (const auto given = json.find(key); given != json.end()) call.arguments = *given;
  if (call.arguments.is_string())  // JSON within JSON
    call.arguments = parse_json(call.arguments.get<std::string>()).value_or(Json());
  if (!call.arguments.is_object()) return std::nullopt;
  return call;
}

// All of them, or none where one is not a call.
std::vector<ToolCall> calls_of(const Json& json, const Tools& tools) {
  std::vector<ToolCall> calls;
  for (const Json& item : json.is_array() ? json : Json::array({json})) {
    std::optional<ToolCall> call = call_of(item, tools);
    if (!call) return {};
    calls.push_back(std::move(*call));
  }
  return calls;
}

std::vector<ToolCall> parse_json_calls(std::string_view inside, const Tools& tools, bool) {
  const std::optional<Json> json = parse_json(trimmed(inside));
  return json ? calls_of(*json, tools) : std::vector<ToolCall>();
}

// A parameter's text as what it is declared to be; models write strings without quotes.
Json value_of(const std::string& text, const std::string& type) {
  if (type == "string") return text;
  if (text == "True" || text == "False") return text == "True";
  if (text == "None") return Json();
  return parse_json(text).value_or(Json(text));
}

// What follows "<function=": NAME>, then JSON, or <parameter=NAME> text </parameter> ... Of the
// latter nothing but </function> tells whether it is whole, and a text may hold one.
std::vector<ToolCall> parse_function(std::string_view inside, const Tools& tools, bool closed) {
  const auto name = up_to(inside, ">");
  if (!name || !tools.has(std::string(trimmed(*name)))) return {};
  ToolCall call{std::string(trimmed(*name)), Json::object()};
  if (const std::string_view rest = trimmed(inside); !rest.empty() && rest[0] == '{') {
    call.arguments = parse_json(rest).value_or(Json());
    return call.arguments.is_object() ? std::vector<ToolCall>{call} : std::vector<ToolCall>();
  }
  if (!closed) return {};
  while (up_to(inside, "<parameter=")) {
    const auto key = up_to(inside, ">");
    if (!key) return {};
    std::string_view value = inside.substr(0, inside.find("<parameter="));
    const size_t end = value.rfind("</parameter>");
    if (end == std::string_view::npos) return {};
    value = value.substr(0, end);
    if (value.starts_with('\n')) value.remove_prefix(1);
    if (value.ends_with('\n')) value.remove_suffix(1);
    const std::string parameter(trimmed(*key));
    call.arguments[parameter] = value_of(std::string(value), tools.type_of(call.name, parameter));
  }
  return {call};
}

// The call behind a "<function=", which is passed over; none where there is no whole one.
std::vector<ToolCall> next_function(std::string_view& inside, const Tools& tools) {
  constexpr std::string_view kEnd = "</function>";
  for (size_t end = 0; (end = inside.find(kEnd, end)) != std::string_view::npos; ++end) {
    std::vector<ToolCall> call = parse_function(inside.substr(0, end), tools, true);
    if (call.empty()) continue;  // the end stands within a text
    inside.remove_prefix(end + kEnd.size());
    return call;
  }
  return {};
}

// Between <tool_call> and </tool_call>: Hermes's JSON, or Qwen3-Coder's and Nemotron 3's functions.
std::vector<ToolCall> parse_tagged(std::string_view inside, const Tools& tools, bool closed) {
  inside = trimmed(inside);
  if (!inside.starts_with("<function=")) return parse_json_calls(inside, tools, closed);
  std::vector<ToolCall> calls;
  while (up_to(inside, "<function=")) {
    const std::vector<ToolCall> one = next_function(inside, tools);
    if (one.empty()) return {};
    calls.push_back(one[0]);
  }
  return calls;
}

// After [TOOL_CALLS]: a list in JSON, or name[ARGS]{...}, name[CALL_ID]id[ARGS]{...}, each with a
// [TOOL_CALLS] of its own.
std::vector<ToolCall> parse_mistral(std::string_view inside, const Tools& tools, bool closed) {
  inside = trimmed(inside);
  if (inside.starts_with('[') || inside.starts_with('{'))
    return parse_json_calls(inside, tools, closed);
  std::vector<ToolCall> calls;
  while (!inside.empty()) {
    std::string_view one = inside.substr(0, inside.find("[TOOL_CALLS]"));
    inside.remove_prefix(
        std::min(inside.size(), one.size() + std::string_view("[TOOL_CALLS]").size()));
    size_t end = std::min(one.find("[ARGS]"), one.find("[CALL_ID]"));
    if (end == std::string_view::npos) end = one.find('{');
    if (end == std::string_view::npos) return {};
    const std::string name(trimmed(one.substr(0, end)));
    const size_t begin = one.find('{', end);
    if (!tools.has(name) || begin == std::string_view::npos) return {};
    const std::optional<Json> arguments = parse_json(trimmed(one.substr(begin)));
    if (!arguments || !arguments->is_object()) return {};
    calls.push_back({name, *arguments});
  }
  return calls;
}

// After <|python_tag|>: bare JSON, or name.call(key="value").
std::vector<ToolCall> parse_python_tag(std::string_view inside, const Tools& tools, bool closed) {
  std::vector<ToolCall> calls = parse_bare_calls(inside, tools);
  return calls.empty() ? parse_python_calls(inside, tools, closed) : calls;
}

}  // namespace

const std::vector<ToolStyle>& tool_styles() {
  static const std::vector<ToolStyle> styles = {
      {"Hermes, Qwen, Granite 4, Nemotron 3", "<tool_call>", "</tool_call>", parse_tagged,
       "\n{\"name\": \""},
      {"Nemotron 2", "<TOOLCALL>", "</TOOLCALL>", parse_json_calls, "[{\"name\": \""},
      {"Granite 3", "<|tool_call|>", "", parse_json_calls, "[{\"name\": \""},
      {"Mistral", "[TOOL_CALLS]", "", parse_mistral, "[{\"name\": \""},
      {"Llama 3, tools of its own", "<|python_tag|>", "", parse_python_tag, nullptr},
      {"Llama 3, functions", "<function=", "</function>", parse_function, nullptr},
      {"LFM2", "<|tool_call_start|>", "<|tool_call_end|>", parse_python_calls, "["},
  };
  return styles;
}

std::vector<ToolCall> parse_bare_calls(std::string_view text, const Tools& tools) {
  text = trimmed(text);
  if (!text.starts_with('{')) return {};
  if (const std::optional<Json> one = parse_json(text)) return calls_of(*one, tools);
  // Several, between semicolons: those within strings are no ends, as what precedes them is no
  // JSON.
  std::vector<ToolCall> calls;
  for (size_t begin = 0, end = 0; begin < text.size();) {
    end = text.find(';', end);
    if (end == std::string_view::npos) end = text.size();
    const std::optional<Json> one = parse_json(trimmed(text.substr(begin, end - begin)));
    const std::optional<ToolCall> call = one ? call_of(*one, tools) : std::nullopt;
    if (call) {
      calls.push_back(*call);
      begin = end + 1;
    } else if (end == text.size()) {
      return {};
    }
    ++end;
  }
  return calls;
}

bool begins_bare_call(std::string_view text) {
  std::string dense;
  for (const char c : text)
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) dense += c;
  for (const std::string_view begin :
       {"{\"name\":", "{\"type\":", "{\"function\":", "{\"arguments\":", "{\"parameters\":"}) {
    const size_t length = std::min(dense.size(), begin.size());
    if (std::string_view(dense).substr(0, length) == begin.substr(0, length)) return true;
  }
  return false;
}

Tools::Tools(const Json& list) {
  for (const Json& tool : list) {
    if (!tool.is_object() || tool.value("type", Json("function")) != "function")
      throw ApiError(400, "tools may have functions only: {\"type\":\"function\",\"function\":...}",
                     "tools");
    const auto function = tool.find("function");
    if (function == tool.end() || !function->is_object() || !function->contains("name") ||
        !(*function)["name"].is_string() || (*function)["name"].get<std::string>().empty())
      throw ApiError(400, "each of tools needs a function with a name", "tools");
    const std::string name = (*function)["name"].get<std::string>();
    if (has(name))
      throw ApiError(400, "tools has two functions named " + name + "; give each its own name",
                     "tools");
    if (const auto parameters = function->find("parameters");
        parameters != function->end() && !parameters->is_null() &&
        (!parameters->is_object() ||
         (parameters->contains("type") && (*parameters)["type"] != "object")))
      throw ApiError(400, "parameters of " + name + " must be the JSON schema of an object",
                     "tools");
    list_.push_back(tool);
  }
}

ToolChoice read_tool_choice(const Tools& tools, const Fields& fields) {
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr || *choice == "auto") return {tools, false};
  if (*choice == "none") return {Tools(), false};
  if (tools.empty()) fields.refuse("tool_choice", "asks for a tool, and there are none");
  if (*choice == "required") return {tools, true};
  // {"type":"function","function":{"name"}}, or, of /v1/responses, {"type":"function","name"}.
  const Json* named = choice;
  if (choice->is_object() && choice->contains("function")) named = &(*choice)["function"];
  const Json name = named->is_object() ? named->value("name", Json()) : Json();
  for (const Json& tool : tools.list())
    if (name == tool["function"]["name"]) return {Tools(Json::array({tool})), true};
  fields.refuse("tool_choice", "must be auto, none, required, or a function of tools");
}

const Json* Tools::function(const std::string& name) const {
  for (const Json& tool : list_)
    if (tool["function"]["name"] == name) return &tool["function"];
  return nullptr;
}

std::string Tools::type_of(const std::string& name, const std::string& parameter) const {
  const Json* of = function(name);
  if (of == nullptr) return "";
  for (const std::string& key : {std::string("parameters"), std::string("properties"), parameter}) {
    const auto at = of->find(key);
    if (at == of->end() || !at->is_object()) return "";
    of = &*at;
  }
  const auto type = of->find("type");
  return type != of->end() && type->is_string() ? type->get<std::string>() : "";
}

}  // namespace klens::apps
