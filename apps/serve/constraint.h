#pragma once
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "apps/serve/fields.h"
#include "apps/serve/tools.h"
#include "klens/klens.h"

namespace klens::apps {

using Grammar = std::shared_ptr<const klens_grammar>;

// Grammars of requests. Making one takes time, and clients ask with the same schema again and
// again: so the last ones are kept. Any thread may ask.
class Grammars {
 public:
  explicit Grammars(const klens_model* model) : model_(model) {}

  // As klens_grammar_new; name stands for the text in messages. Throws Failure.
  Grammar get(klens_grammar_kind kind, const std::string& text, const std::string& name);

 private:
  const klens_model* model_;
  std::mutex mutex_;
  std::list<std::pair<std::string, Grammar>> kept_;  // the last one asked for first
};

// What a request says an answer must be: response_format ({"type":"json_object"}, or
// {"type":"json_schema","json_schema":{"schema"}}), or grammar, in llama.cpp's notation. Null:
// anything. Throws ApiError.
Grammar read_constraint(const Fields& fields, Grammars& grammars);
// The same of a format that holds its schema itself, as those of /v1/responses do.
Grammar constraint_of_format(const Json& format, const Json& schema_holder,
                             const std::string& field, Grammars& grammars);
// An answer is a call of a tool, or what `fields` say of it. Throws ApiError where it must be both.
void refuse_beside_call(const ToolChoice& choice, const Grammar& grammar, const char* fields);

}  // namespace klens::apps
