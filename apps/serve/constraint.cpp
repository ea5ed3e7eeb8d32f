#include "apps/serve/constraint.h"

#include "apps/cli/output.h"
#include "klens/klens.hpp"

namespace klens::apps {
namespace {

constexpr size_t kMostKept = 32;

}  // namespace

Grammar Grammars::get(klens_grammar_kind kind, const std::string& text, const std::string& name) {
  const std::string key = std::to_string(kind) + text;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = kept_.begin(); at != kept_.end(); ++at)
      if (at->first == key) {
        kept_.splice(kept_.begin(), kept_, at);
        return at->second;
      }
  }
  klens_grammar* made = nullptr;
  check([&](klens_error* e) {
    return klens_grammar_new(model_, kind, text.data(), text.size(), name.c_str(), &made, e);
  });
  const Grammar grammar(made, klens_grammar_free);
  const std::lock_guard lock(mutex_);
  kept_.emplace_front(key, grammar);
  if (kept_.size() > kMostKept) kept_.pop_back();
  return grammar;
}

Grammar constraint_of_format(const Json& format, const Json& schema_holder,
                             const std::string& field, Grammars& grammars) {
  const Json type = format.value("type", Json("text"));
  if (type == "text") return nullptr;
  if (type == "json_object") return grammars.get(KLENS_GRAMMAR_JSON_OBJECT, "", field);
  if (type != "json_schema")
    throw ApiError(400, field + " may be of type text, json_object or json_schema", field);
  const Json schema = schema_holder.value("schema", Json());
  if (!schema.is_object() && !schema.is_boolean())
    throw ApiError(400, field + " has no schema", field);
  return grammars.get(KLENS_GRAMMAR_JSON_SCHEMA, compact(schema), "schema");
}

Grammar read_constraint(const Fields& fields, Grammars& grammars) {
  Grammar grammar;
  if (const Json* format = fields.object("response_format"))
    grammar = constraint_of_format(*format, format->value("json_schema", Json::object()),
                                   "response_format", grammars);
  if (const auto text = fields.text("grammar")) {
    if (grammar != nullptr) fields.refuse("grammar", "and response_format exclude each other");
    grammar = grammars.get(KLENS_GRAMMAR_GBNF, *text, "grammar");
  }
  return grammar;
}

void refuse_beside_call(const ToolChoice& choice, const Grammar& grammar, const char* fields) {
  if (choice.required && grammar != nullptr)
    throw ApiError(400,
                   std::string("tool_choice asks for a call, and ") + fields +
                       " for another answer; leave one out",
                   "tool_choice");
}

}  // namespace klens::apps
