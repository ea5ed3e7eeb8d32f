// Texts and tokens, without the model: /tokenize, /detokenize, /apply-template.
#include <algorithm>

#include "apps/serve/chat_prompt.h"
#include "apps/serve/service.h"

namespace klens::apps {
namespace {

Json tokenized(const Service& service, const Fields& fields) {
  const auto content = fields.text("content");
  if (!content) fields.refuse("content", "is missing");
  const std::vector<int32_t> ids = tokens_of(service, *content, fields.flag("add_special", false));
  if (!fields.flag("with_pieces", false)) return {{"tokens", ids}};
  Json pieces = Json::array();
  for (const int32_t id : ids)
    pieces.push_back({{"id", id}, {"piece", detokenize(service.tokenizer, {id}, false)}});
  return {{"tokens", pieces}};
}

Json detokenized(const Service& service, const Fields& fields) {
  const Json* list = fields.list("tokens");
  if (list == nullptr) fields.refuse("tokens", "is missing");
  const int32_t vocab = klens_model_vocab(service.model);
  std::vector<int32_t> ids;
  for (const Json& item : *list) {
    const bool known =
        item.is_number_integer() && item.get<int64_t>() >= 0 && item.get<int64_t>() < vocab;
    if (!known) fields.refuse("tokens", "must be ids below " + std::to_string(vocab));
    ids.push_back(item.get<int32_t>());
  }
  return {{"content", detokenize(service.tokenizer, ids, fields.flag("skip_special", false))}};
}

Json applied(const Service& service, const Fields& fields) {
  const Json* messages = fields.list("messages");
  if (messages == nullptr) fields.refuse("messages", "is missing");
  const Json* tools = fields.list("tools");
  const ChatPrompt prompt =
      chat_prompt(service, template_messages(*messages), tools == nullptr ? Tools() : Tools(*tools),
                  fields.object("chat_template_kwargs"));
  return {{"prompt", prompt.text}, {"tokens", prompt.ids.size()}};
}

}  // namespace

void add_text_routes(HttpServer& server, Service& service) {
  const auto add = [&](const char* path, Json (*make)(const Service&, const Fields&)) {
    server.post(path, [&service, make](const httplib::Request&, const std::string& body,
                                       httplib::Response& response) {
      const Json request = parse_request(body);
      answer_json(response, make(service, Fields(request)));
    });
  };
  add("/tokenize", tokenized);
  add("/detokenize", detokenized);
  add("/apply-template", applied);
}

}  // namespace klens::apps
