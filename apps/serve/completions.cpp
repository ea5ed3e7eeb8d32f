// /v1/completions: texts, as they are, gone on with.
#include <algorithm>
#include <ctime>

#include "apps/serve/prompts.h"
#include "apps/serve/reply.h"
#include "apps/serve/sampling.h"
#include "apps/serve/service.h"

namespace klens::apps {
namespace {

constexpr int64_t kUsualTokens = 16;  // OpenAI's

const char* name_of(Finish finish) { return finish == Finish::kLength ? "length" : "stop"; }

class CompletionReply : public Reply {
 public:
  CompletionReply(const Service& service, size_t choices, size_t per_prompt, bool logprobs,
                  bool with_usage)
      : service_(service),
        id_(new_id("cmpl-")),
        per_prompt_(per_prompt),
        logprobs_(logprobs),
        with_usage_(with_usage),
        choices_(choices) {}

  std::string add(const Piece& piece) override {
    Choice& choice = choices_[piece.choice];
    const Json logprobs = logprobs_ ? scored(piece, choice.text.size()) : Json();
    choice.text += piece.text;
    choice.tokens.insert(choice.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    usage_.add(piece, piece.choice % per_prompt_ == 0);
    if (piece.ended) choice.finish = piece.finish;
    Json chunk = head();
    chunk["choices"] = Json::array({{{"index", piece.choice},
                                     {"text", piece.text},
                                     {"logprobs", logprobs},
                                     {"finish_reason", Json()}}});
    if (piece.ended) chunk["choices"][0]["finish_reason"] = name_of(piece.finish);
    return event(chunk);
  }

  std::string closing() override {
    std::string events;
    if (with_usage_) {
      Json chunk = head();
      chunk["choices"] = Json::array();
      chunk["usage"] = usage_.json();
      events = event(chunk);
    }
    return events + "data: [DONE]\n\n";
  }

  Json whole() override {
    Json json = head();
    json["choices"] = Json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      Piece all;
      all.tokens = choices_[i].tokens;
      json["choices"].push_back({{"index", i},
                                 {"text", choices_[i].text},
                                 {"logprobs", logprobs_ ? scored(all, 0) : Json()},
                                 {"finish_reason", name_of(choices_[i].finish)}});
    }
    json["usage"] = usage_.json();
    return json;
  }

 private:
  struct Choice {
    std::string text;
    std::vector<Scored> tokens;
    Finish finish = Finish::kStop;
  };

  Json head() const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", service_.options.name}};
  }

  std::string token(int32_t id) const { return detokenize(service_.tokenizer, {id}, false); }

  // begin: where the first token's text begins in the choice's.
  Json scored(const Piece& piece, size_t begin) const {
    Json json = {{"tokens", Json::array()},
                 {"token_logprobs", Json::array()},
                 {"top_logprobs", Json::array()},
                 {"text_offset", Json::array()}};
    for (const Scored& one : piece.tokens) {
      const std::string text = token(one.id);
      Json top = Json::object();
      for (const auto& [id, logprob] : one.top) top[token(id)] = logprob;
      json["tokens"].push_back(text);
      json["token_logprobs"].push_back(one.logprob);
      json["top_logprobs"].push_back(top);
      json["text_offset"].push_back(begin);
      begin += text.size();
    }
    return json;
  }

  const Service& service_;
  const std::string id_;
  const int64_t created_ = static_cast<int64_t>(std::time(nullptr));
  const size_t per_prompt_;
  const bool logprobs_, with_usage_;
  std::vector<Choice> choices_;
  UsageSum usage_;
};

void complete(Service& service, const std::string& body, httplib::Response& response) {
  const Json request = parse_request(body);
  const Fields fields(request);
  Ask common;
  read_sampling(fields, service, common);
  common.one_text = true;
  if (const auto logprobs = fields.count("logprobs", 0, 20))
    common.top_logprobs = static_cast<int32_t>(*logprobs);
  common.grammar = read_constraint(fields, service.grammars);
  fields.only("echo", {false});
  fields.only("suffix", {""});
  fields.only("best_of", {1, common.choices});
  const bool streamed = fields.flag("stream", false);
  bool with_usage = false;
  if (const Json* options = fields.object("stream_options"))
    with_usage = Fields(*options, "stream_options.").flag("include_usage", false);
  const auto most = fields.count("max_tokens", 1, INT32_MAX);

  std::vector<Ask> asks;
  for (std::vector<int32_t>& ids : read_texts(service, fields, "prompt")) {
    Ask ask = common;
    ask.ids = std::move(ids);
    ask.first_choice = asks.size() * common.choices;
    limit_answer(service, most.value_or(std::min(kUsualTokens, service.options.answer_tokens)),
                 "max_tokens", ask);
    asks.push_back(std::move(ask));
  }
  auto reply = std::make_unique<CompletionReply>(
      service, asks.size() * common.choices, common.choices, common.top_logprobs >= 0, with_usage);
  answer(service, std::move(asks), std::move(reply), streamed, response);
}

}  // namespace

void add_completions(HttpServer& server, Service& service) {
  server.post("/v1/completions",
              [&service](const httplib::Request&, const std::string& body,
                         httplib::Response& response) { complete(service, body, response); });
}

}  // namespace klens::apps
