#include "apps/serve/call_syntax.h"

#include <algorithm>
#include <array>

#include "apps/cli/output.h"

namespace klens::apps {
namespace {

constexpr std::string_view kName = "klens_probe", kKey = "klens_key", kValue = "klens_value";
constexpr std::string_view kParameter = "<parameter=", kEndParameter = "</parameter>";

CallSyntax bare_syntax() {
  return {.marker = "", .before = "{\"name\": \"", .between = "\", \"arguments\": ", .after = "}"};
}

// What closes the brackets of JSON that are open behind this text.
std::string closing_of(std::string_view text) {
  std::string closing;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '{' || c == '[') closing.insert(closing.begin(), c == '{' ? '}' : ']');
    if ((c == '}' || c == ']') && !closing.empty()) closing.erase(0, 1);
  }
  return closing;
}

// Where the earliest marker stands before `end`, and which it is.
const ToolStyle* first_marker(std::string_view text, size_t end, size_t& at) {
  const ToolStyle* first = nullptr;
  for (const ToolStyle& style : tool_styles())
    if (const size_t found = text.find(style.open); found < end && (!first || found < at)) {
      first = &style;
      at = found;
    }
  return first;
}

// What stands between a name and its arguments, and how they are written.
bool read_arguments(std::string_view rest, CallSyntax& syntax) {
  const size_t key = rest.find(kKey);
  if (key == std::string_view::npos) return false;
  std::string_view head = rest.substr(0, key);
  if (head.ends_with("{\"")) {
    syntax.between = head.substr(0, head.size() - 2);
    const std::string json = syntax.before + std::string(kName) + syntax.between;
    if (syntax.before.ends_with('"')) syntax.after = closing_of(json);
    if (syntax.before.find("<function=") != std::string::npos) syntax.after = "</function>";
    return true;
  }
  if (head.ends_with('(')) {
    syntax.between = head;
    syntax.after = ")" + closing_of(syntax.before);
    syntax.arguments = CallSyntax::Arguments::kPython;
    return true;
  }
  const size_t value = rest.find(kValue, key), end = rest.find(kEndParameter, key);
  if (!head.ends_with(kParameter) || value == std::string_view::npos ||
      end == std::string_view::npos)
    return false;
  syntax.between = head.substr(0, head.size() - kParameter.size());
  syntax.open_value = rest.substr(key + kKey.size(), value - key - kKey.size());
  size_t close = end + kEndParameter.size();
  if (rest.substr(close).starts_with('\n')) ++close;
  syntax.close_value = rest.substr(value + kValue.size(), close - value - kValue.size());
  syntax.after = "</function>";
  syntax.arguments = CallSyntax::Arguments::kTags;
  return true;
}

// Names that stand in every syntax as they are.
bool is_plain(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

bool has_only(const Json& object, std::initializer_list<std::string_view> keys) {
  for (const auto& item : object.items())
    if (std::find(keys.begin(), keys.end(), item.key()) == keys.end()) return false;
  return true;
}

// A text as a grammar has it.
std::string literal(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      quoted += {'\\', c};
    else if (byte < 0x20 || byte == 0x7F)
      quoted += {'\\', 'x', kHex[byte / 16], kHex[byte % 16]};
    else
      quoted += c;
  }
  return quoted + "\"";
}

std::string json_of(const Json& schema) { return "%json " + compact(schema); }

// The grammar of one tool's arguments.
class ArgumentsGrammar {
 public:
  ArgumentsGrammar(const CallSyntax& syntax, const Json& function)
      : syntax_(syntax), parameters_(function.value("parameters", Json())) {
    if (!parameters_.is_object()) parameters_ = Json::object();
    if (!parameters_.contains("type")) parameters_["type"] = "object";
    properties_ = parameters_.value("properties", Json::object());
    required_ = parameters_.value("required", Json::array());
    // A function that names no parameters has none.
    if (parameters_["type"] == "object" && properties_ == Json::object() &&
        has_only(parameters_,
                 {"type", "properties", "required", "description", "title", "$schema"}))
      parameters_["additionalProperties"] = false;
  }

  std::string as_json() const { return json_of(parameters_); }

  // Whether each parameter can be written by itself.
  bool has_plain_parameters() const {
    if (!has_only(parameters_, {"type", "properties", "required", "additionalProperties", "$defs",
                                "definitions", "title", "description", "$schema", "strict"}) ||
        parameters_["type"] != "object")
      return false;
    if (!properties_.is_object() || !required_.is_array()) return false;
    for (const Json& name : required_)
      if (!name.is_string() || !properties_.contains(name.get<std::string>())) return false;
    for (const auto& item : properties_.items())
      if (!is_plain(item.key()) || !item.value().is_object()) return false;
    return true;
  }
  // Whether tags can: strings stand there without quotes, so that no more can be asked of them than
  // to be one of some.
  bool has_plain_texts() const {
    if (!has_plain_parameters()) return false;
    for (const auto& item : properties_.items()) {
      const Json& of = item.value();
      if (!is_text(of)) continue;
      if (!has_only(of, {"type", "enum", "description", "title", "default", "examples"}))
        return false;
      for (const Json& text : of.value("enum", Json::array()))
        if (!text.is_string() || text.get<std::string>().find(kEndParameter) != std::string::npos)
          return false;
    }
    return true;
  }

  std::string as_tags() const {
    std::string all;
    for (const auto& item : properties_.items()) {
      const std::string one = literal(std::string(kParameter) + item.key() + syntax_.open_value) +
                              " " + text_value(item.value()) + " " + literal(syntax_.close_value);
      all += is_required(item.key()) ? one + " " : "(" + one + ")? ";
    }
    return all;
  }

  // Those that must be there come first, so that commas are where they belong.
  std::string as_python() const {
    std::vector<std::string> must, may;
    for (const auto& item : properties_.items())
      (is_required(item.key()) ? must : may)
          .push_back(literal(item.key() + "=") + " " + python_value(item.value()));
    std::string all;
    for (const std::string& one : must) all += (all.empty() ? "" : "\", \" ") + one + " ";
    if (!must.empty()) {
      for (const std::string& one : may) all += "(\", \" " + one + ")? ";
      return all;
    }
    // Any of them may be the first, or there is none.
    for (size_t first = 0; first < may.size(); ++first) {
      all += first == 0 ? "(" : " | ";
      all += may[first];
      for (size_t i = first + 1; i < may.size(); ++i) all += " (\", \" " + may[i] + ")?";
    }
    return all.empty() ? "" : all + ")? ";
  }

 private:
  bool is_required(const std::string& name) const {
    return std::find(required_.begin(), required_.end(), Json(name)) != required_.end();
  }
  static bool is_text(const Json& schema) { return schema.value("type", Json()) == "string"; }

  // With the definitions that it may refer to.
  std::string json_value(Json schema) const {
    for (const char* key : {"$defs", "definitions"})
      if (parameters_.contains(key) && !schema.contains(key)) schema[key] = parameters_[key];
    return json_of(schema);
  }
  std::string text_value(const Json& schema) const {
    if (!is_text(schema)) return json_value(schema);
    if (!schema.contains("enum")) return "text";
    std::string all = "(";
    for (const Json& text : schema["enum"])
      all += (all.size() == 1 ? "" : " | ") + literal(text.get<std::string>());
    return all + ")";
  }
  std::string python_value(const Json& schema) const {
    return schema.value("type", Json()) == "boolean" && has_only(schema, {"type", "description"})
               ? "(\"True\" | \"False\")"
               : json_value(schema);
  }

  const CallSyntax& syntax_;
  Json parameters_, properties_, required_;
};

// A name as it stands in JSON, without its quotes, or as it is.
std::string name_in(const CallSyntax& syntax, const std::string& name) {
  if (!syntax.before.ends_with('"')) return name;
  const std::string quoted = compact(Json(name));
  return quoted.substr(1, quoted.size() - 2);
}

bool can_hold(const CallSyntax& syntax, const Tools& tools) {
  for (const Json& tool : tools.list()) {
    const Json& function = tool["function"];
    if (!syntax.before.ends_with('"') && !is_plain(function["name"].get<std::string>()))
      return false;
    if (syntax.arguments == CallSyntax::Arguments::kPython &&
        !ArgumentsGrammar(syntax, function).has_plain_parameters())
      return false;
  }
  return true;
}

// Behind a tool's name and what follows it.
std::string rest_of(const CallSyntax& syntax, const Json& function) {
  const ArgumentsGrammar arguments(syntax, function);
  switch (syntax.arguments) {
    case CallSyntax::Arguments::kJson:
      return arguments.as_json() + " " + literal(syntax.after);
    case CallSyntax::Arguments::kPython:
      return arguments.as_python() + literal(syntax.after);
    case CallSyntax::Arguments::kTags:
      // JSON is read in place of tags, too.
      return (arguments.has_plain_texts() ? arguments.as_tags()
                                          : arguments.as_json() + " \"\\n\" ") +
             literal(syntax.after);
  }
  return "";
}

}  // namespace

Json probe_call() {
  return {
      {"id", "000000000"},
      {"type", "function"},
      {"function",
       {{"name", std::string(kName)}, {"arguments", {{std::string(kKey), std::string(kValue)}}}}}};
}

std::optional<CallSyntax> syntax_of(std::string_view written) {
  const size_t name = written.find(kName);
  if (name == std::string_view::npos) return std::nullopt;
  CallSyntax syntax;
  size_t begin = 0;
  if (const ToolStyle* style = first_marker(written, name, begin)) {
    syntax.marker = style->open;
    begin += syntax.marker.size();
  } else {
    begin = written.rfind('{', name);
    if (begin == std::string_view::npos || !begins_bare_call(written.substr(begin, name - begin)))
      return std::nullopt;
  }
  syntax.before = written.substr(begin, name - begin);
  if (!read_arguments(written.substr(name + kName.size()), syntax)) return std::nullopt;
  return syntax;
}

CallSyntax usual_syntax(std::string_view prompt, const std::vector<std::string>& known) {
  const ToolStyle* style = nullptr;
  size_t at = 0;
  for (const ToolStyle& one : tool_styles()) {
    if (one.before == nullptr) continue;
    // The last place: what the tools themselves say stands before it.
    const size_t found = prompt.rfind(one.open);
    if (found != std::string_view::npos && (style == nullptr || found > at)) {
      style = &one;
      at = found;
    }
  }
  for (const ToolStyle& one : tool_styles())
    if (style == nullptr && one.before != nullptr &&
        std::find(known.begin(), known.end(), one.open) != known.end())
      style = &one;
  if (style == nullptr) return bare_syntax();
  CallSyntax syntax = bare_syntax();
  syntax.marker = style->open;
  syntax.before = style->before;
  syntax.after = "";
  if (!syntax.before.ends_with('"')) {
    syntax.arguments = CallSyntax::Arguments::kPython;
    syntax.between = "(";
    syntax.after = ")";
  }
  syntax.after += closing_of(syntax.before + syntax.between);
  return syntax;
}

CallGrammar grammar_of_call(const CallSyntax& given, const Tools& tools) {
  const CallSyntax syntax = can_hold(given, tools) ? given : bare_syntax();
  CallGrammar grammar;
  grammar.opening = syntax.marker;
  const bool special = syntax.between.find("[ARGS]") != std::string::npos;
  std::string calls;
  for (const Json& tool : tools.list()) {
    const Json& function = tool["function"];
    const std::string head = name_in(syntax, function["name"].get<std::string>()) + syntax.between;
    if (special && tools.list().size() == 1)
      grammar.opening += syntax.before + head;
    else
      calls += (calls.empty() ? "" : " | ") + literal(syntax.before + head) + " ";
    calls += rest_of(syntax, function);
  }
  // Any text without the end of a parameter.
  grammar.gbnf = "root ::= " + calls + "\ntext ::= ([^<] | \"<\" [^/<])*\n";
  return grammar;
}

}  // namespace klens::apps
