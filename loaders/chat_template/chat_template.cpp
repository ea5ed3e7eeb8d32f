#include "loaders/chat_template/chat_template.h"

#include <utility>

#include "base/error.h"
#include "loaders/chat_template/interpreter.h"
#include "loaders/chat_template/parser.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using jinja::Failure;
using jinja::Value;

std::string valid_text(std::string_view text) {
  std::string out;
  utf8::append_lossy(out, text);
  return out;
}

template <typename Json>
Value to_value(jinja::Runtime& runtime, const Json& json, int depth = 0) {
  if (depth > jinja::kMaxValueDepth) jinja::fail("the context is nested too deeply");
  if (json.is_null()) return Value::none();
  if (json.is_boolean()) return Value::boolean(json.template get<bool>());
  if (json.is_number_unsigned() && json.template get<uint64_t>() > INT64_MAX)
    return Value::real(json.template get<double>());
  if (json.is_number_integer()) return Value::integer(json.template get<int64_t>());
  if (json.is_number()) return Value::real(json.template get<double>());
  if (json.is_string())
    return runtime.text(valid_text(json.template get_ref<const std::string&>()));
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(to_value(runtime, item, depth + 1));
    return runtime.list(std::move(items));
  }
  if (!json.is_object()) jinja::fail("the context holds a value that is not JSON");
  const Value dict = runtime.dict();
  for (const auto& [key, item] : json.items())
    dict.as_dict().entries.emplace_back(runtime.text(valid_text(key)),
                                        to_value(runtime, item, depth + 1));
  return dict;
}

[[noreturn]] void rethrow(const Failure& failure, const std::string& name) {
  std::string place = name;
  if (failure.line > 0) place.append(1, ':').append(std::to_string(failure.line));
  place += ": ";
  switch (failure.kind) {
    case Failure::Kind::kRaised:
      throw Error(ErrorKind::kBadArgument,
                  place + "the chat template does not accept these messages: " + failure.what());
    case Failure::Kind::kUnsupported:
      throw Error(ErrorKind::kUnsupported, place + failure.what());
    case Failure::Kind::kBad:
      break;
  }
  throw Error(ErrorKind::kBadFile, place + failure.what());
}

// Refuses filters and tests that we do not have, but for those that stand under a condition: as
// with Jinja they are an error once they are reached.
void check_names(const jinja::Expr& expr) {
  if (expr.kind == jinja::Expr::Kind::kCondition) return;
  if (expr.kind == jinja::Expr::Kind::kFilter && !jinja::has_filter(expr.name))
    jinja::unsupported("the filter '" + expr.name + "' is not supported");
  if (expr.kind == jinja::Expr::Kind::kTest && !jinja::has_test(expr.name))
    jinja::unsupported("the test '" + expr.name + "' is not supported");
  for (const jinja::ExprPtr& part : expr.parts)
    if (part) check_names(*part);
  for (const auto& [name, part] : expr.named) check_names(*part);
  if (expr.all) check_names(*expr.all);
  if (expr.all_named) check_names(*expr.all_named);
}

void check_names(const jinja::Body& body) {
  for (const jinja::Stmt& stmt : body) try {
      if (stmt.value) check_names(*stmt.value);
      if (stmt.condition) check_names(*stmt.condition);
      for (const jinja::ExprPtr& value : stmt.defaults) check_names(*value);
      check_names(stmt.body);
      check_names(stmt.otherwise);
    } catch (Failure& failure) {
      if (failure.line == 0) failure.line = stmt.line;
      throw;
    }
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string name;
  jinja::Body body;

  template <typename Json>
  std::string render(const Json& context) const {
    try {
      jinja::Interpreter interpreter(body);
      std::vector<std::pair<std::string, Value>> names;
      if (!context.is_object()) jinja::fail("the context is not an object");
      for (const auto& [key, item] : context.items())
        names.emplace_back(key, to_value(interpreter.runtime(), item));
      return interpreter.run(std::move(names));
    } catch (const Failure& failure) {
      rethrow(failure, name);
    }
  }
};

ChatTemplate::ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

ChatTemplate ChatTemplate::parse(std::string_view source, const std::string& name) {
  constexpr size_t kLongest = size_t{4} << 20;
  if (source.size() > kLongest)
    throw Error(ErrorKind::kUnsupported, name + ": a chat template of more than 4 MiB");
  auto parsed = std::make_shared<Parsed>();
  parsed->name = name;
  try {
    parsed->body = jinja::parse_template(valid_text(source));
    check_names(parsed->body);
  } catch (const Failure& failure) {
    rethrow(failure, name);
  }
  return ChatTemplate(std::move(parsed));
}

std::string ChatTemplate::render(const nlohmann::json& context) const {
  return parsed_->render(context);
}

std::string ChatTemplate::render_ordered(const nlohmann::ordered_json& context) const {
  return parsed_->render(context);
}

}  // namespace klens
