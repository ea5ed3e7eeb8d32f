#include "apps/serve/python_calls.h"

#include <cctype>
#include <charconv>
#include <optional>

namespace klens::apps {
namespace {

constexpr int kDeepestLiteral = 50;

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool at_end() {
    skip_space();
    return text_.empty();
  }
  bool accept(char c) {
    skip_space();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool accept(std::string_view word) {
    skip_space();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  std::string name() {
    skip_space();
    size_t length = 0;
    while (length < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[length])) || text_[length] == '_' ||
            text_[length] == '-' || text_[length] == '.'))
      ++length;
    std::string name(text_.substr(0, length));
    text_.remove_prefix(length);
    return name;
  }
  std::optional<Json> literal(int depth = 0) {
    skip_space();
    if (text_.empty() || depth > kDeepestLiteral) return std::nullopt;
    if (text_[0] == '"' || text_[0] == '\'') return text();
    if (accept('[')) return list(depth);
    if (accept('{')) return object(depth);
    if (std::isdigit(static_cast<unsigned char>(text_[0])) || text_[0] == '-') return number();
    const std::string word = name();
    if (word == "True" || word == "true") return Json(true);
    if (word == "False" || word == "false") return Json(false);
    if (word == "None" || word == "null") return Json();
    return std::nullopt;
  }

 private:
  void skip_space() {
    while (!text_.empty() && std::isspace(static_cast<unsigned char>(text_[0])))
      text_.remove_prefix(1);
  }
  std::optional<Json> list(int depth) {
    Json json = Json::array();
    while (!accept(']')) {
      std::optional<Json> item = literal(depth + 1);
      if (!item) return std::nullopt;
      json.push_back(std::move(*item));
      if (!accept(',') && text_.find(']') != 0) return std::nullopt;
    }
    return json;
  }
  std::optional<Json> object(int depth) {
    Json json = Json::object();
    while (!accept('}')) {
      const std::optional<Json> key = literal(depth + 1);
      if (!key || !key->is_string() || !accept(':')) return std::nullopt;
      std::optional<Json> value = literal(depth + 1);
      if (!value) return std::nullopt;
      json[key->get<std::string>()] = std::move(*value);
      if (!accept(',') && text_.find('}') != 0) return std::nullopt;
    }
    return json;
  }
  std::optional<Json> text() {
    const char quote = text_[0];
    std::string value;
    for (size_t i = 1; i < text_.size(); ++i) {
      if (text_[i] == quote) {
        // JSON's escapes, where it is JSON.
        const std::string_view literal = text_.substr(0, i + 1);
        text_.remove_prefix(i + 1);
        if (quote == '"')
          if (const std::optional<Json> json = parse_json(literal)) return json;
        return value;
      }
      if (text_[i] == '\\' && i + 1 < text_.size()) {
        const char c = text_[++i];
        if (c == 'n')
          value += '\n';
        else if (c == 't')
          value += '\t';
        else if (c == 'r')
          value += '\r';
        else if (c == '\\' || c == '"' || c == '\'')
          value += c;
        else
          value += {'\\', c};
      } else {
        value += text_[i];
      }
    }
    return std::nullopt;
  }
  std::optional<Json> number() {
    size_t length = 0;
    while (length < text_.size() &&
           std::string_view("+-.eE0123456789").find(text_[length]) != std::string_view::npos)
      ++length;
    std::optional<Json> json = parse_json(text_.substr(0, length));
    text_.remove_prefix(length);
    return json;
  }

  std::string_view text_;
};

std::optional<ToolCall> call(Reader& reader, const Tools& tools) {
  ToolCall made;
  made.name = reader.name();
  if (constexpr std::string_view kCall = ".call";
      made.name.ends_with(kCall) && !tools.has(made.name))
    made.name.resize(made.name.size() - kCall.size());
  if (!tools.has(made.name) || !reader.accept('(')) return std::nullopt;
  made.arguments = Json::object();
  while (!reader.accept(')')) {
    const std::string key = reader.name();
    if (key.empty() || !reader.accept('=')) return std::nullopt;
    std::optional<Json> value = reader.literal();
    if (!value) return std::nullopt;
    made.arguments[key] = std::move(*value);
    if (!reader.accept(',')) {
      if (!reader.accept(')')) return std::nullopt;
      break;
    }
  }
  return made;
}

}  // namespace

std::vector<ToolCall> parse_python_calls(std::string_view text, const Tools& tools, bool) {
  Reader reader(text);
  const bool bracketed = reader.accept('[');
  std::vector<ToolCall> calls;
  do {
    std::optional<ToolCall> one = call(reader, tools);
    if (!one) return {};
    calls.push_back(std::move(*one));
  } while (bracketed && reader.accept(','));
  if (bracketed && !reader.accept(']')) return {};
  return reader.at_end() ? calls : std::vector<ToolCall>();
}

}  // namespace klens::apps
