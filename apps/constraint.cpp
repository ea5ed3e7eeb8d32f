#include "apps/constraint.h"

#include "apps/cli/files.h"

namespace klens::apps {
namespace {

std::string chosen(const Arguments& arguments) {
  return arguments.one_of({"json-schema", "grammar", "json-object"});
}

}  // namespace

OptionGroup constraint_options() {
  return {
      "Constrained output",
      {{"json-schema", "FILE", "only JSON that the schema in FILE allows; - reads standard input"},
       {"grammar", "FILE", "only texts of the grammar in FILE (llama.cpp's GBNF)"},
       {"json-object", "", "only a JSON object"}}};
}

bool constrained(const Arguments& arguments) { return !chosen(arguments).empty(); }

GrammarHandle read_constraint(const Arguments& arguments, const klens_model* model) {
  const std::string option = chosen(arguments);
  if (option.empty()) return nullptr;
  if (option == "json-object") return new_grammar(model, KLENS_GRAMMAR_JSON_OBJECT, "", option);
  const std::string path = *arguments.text(option);
  const klens_grammar_kind kind =
      option == "grammar" ? KLENS_GRAMMAR_GBNF : KLENS_GRAMMAR_JSON_SCHEMA;
  return new_grammar(model, kind, read_file(path), path == "-" ? "standard input" : path);
}

}  // namespace klens::apps
