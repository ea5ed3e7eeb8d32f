// /v1/chat/completions: conversations, by the model's chat template.
#include <ctime>
#include <iterator>
#include <utility>

#include "apps/cli/output.h"
#include "apps/serve/answer_parser.h"
#include "apps/serve/chat_prompt.h"
#include "apps/serve/reply.h"
#include "apps/serve/sampling.h"
#include "apps/serve/service.h"

namespace klens::apps {
namespace {

struct ChatRequest {
  Ask ask;
  Tools tools;
  bool thinking = false, streamed = false, with_usage = false;
};

class ChatReply : public Reply {
 public:
  ChatReply(const Service& service, const ChatRequest& request)
      : service_(service),
        tools_(request.tools),
        id_(new_id("chatcmpl-")),
        logprobs_(request.ask.top_logprobs >= 0),
        with_usage_(request.with_usage) {
    for (size_t i = 0; i < request.ask.choices; ++i)
      choices_.push_back({AnswerParser(request.thinking, &tools_), {}, {}, {}});
  }

  std::string opening() override {
    std::string events;
    for (size_t i = 0; i < choices_.size(); ++i)
      events += chunk(i, {{"role", "assistant"}, {"content", ""}}, Json(), Json());
    return events;
  }

  std::string add(const Piece& piece) override {
    Choice& choice = choices_[piece.choice];
    AnswerParts parts = choice.parser.push(piece.text);
    if (piece.ended) {
      AnswerParts last = choice.parser.finish();
      parts.reasoning += last.reasoning;
      parts.content += last.content;
      std::move(last.calls.begin(), last.calls.end(), std::back_inserter(parts.calls));
    }
    usage_.add(piece, piece.choice == 0);
    Json logprobs;
    if (logprobs_ && !piece.tokens.empty()) {
      logprobs = {{"content", scored(piece.tokens)}};
      choice.tokens.insert(choice.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    }
    std::string events;
    const auto tell = [&](const Json& delta) {
      events += chunk(piece.choice, delta, std::exchange(logprobs, Json()), Json());
    };
    if (!parts.reasoning.empty()) tell({{"reasoning_content", parts.reasoning}});
    if (!parts.content.empty()) tell({{"content", parts.content}});
    for (const ToolCall& call : parts.calls) {
      Json made = call_json(call);
      Json told = {{"index", choice.calls.size()}};
      told.update(made);
      choice.calls.push_back(std::move(made));
      tell({{"tool_calls", Json::array({told})}});
    }
    if (!logprobs.is_null()) tell({{"content", ""}});
    choice.reasoning += parts.reasoning;
    choice.content += parts.content;
    if (piece.ended) {
      choice.finish = choice.parser.called()            ? "tool_calls"
                      : piece.finish == Finish::kLength ? "length"
                                                        : "stop";
      events += chunk(piece.choice, Json::object(), Json(), choice.finish);
    }
    return events;
  }

  std::string closing() override {
    std::string events;
    if (with_usage_) {
      Json last = head("chat.completion.chunk");
      last["choices"] = Json::array();
      last["usage"] = usage_.json();
      events = event(last);
    }
    return events + "data: [DONE]\n\n";
  }

  Json whole() override {
    Json json = head("chat.completion");
    json["choices"] = Json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      const Choice& choice = choices_[i];
      Json message = {{"role", "assistant"}, {"content", choice.content}};
      if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
      if (!choice.calls.empty()) {
        message["tool_calls"] = choice.calls;
        if (choice.content.empty()) message["content"] = Json();
      }
      json["choices"].push_back(
          {{"index", i},
           {"message", message},
           {"logprobs", logprobs_ ? Json{{"content", scored(choice.tokens)}} : Json()},
           {"finish_reason", choice.finish}});
    }
    json["usage"] = usage_.json();
    return json;
  }

 private:
  struct Choice {
    AnswerParser parser;
    std::string reasoning = {}, content = {}, finish = {};
    Json calls = Json::array();
    std::vector<Scored> tokens = {};
  };

  Json head(const char* object) const {
    return {
        {"id", id_}, {"object", object}, {"created", created_}, {"model", service_.options.name}};
  }

  std::string chunk(size_t choice, const Json& delta, const Json& logprobs,
                    const Json& finish) const {
    Json json = head("chat.completion.chunk");
    json["choices"] = Json::array(
        {{{"index", choice}, {"delta", delta}, {"logprobs", logprobs}, {"finish_reason", finish}}});
    return event(json);
  }

  static Json call_json(const ToolCall& call) {
    return {{"id", new_call_id()},
            {"type", "function"},
            {"function", {{"name", call.name}, {"arguments", compact(call.arguments)}}}};
  }

  Json token_json(int32_t id, double logprob) const {
    const std::string text = detokenize(service_.tokenizer, {id}, false);
    // Of a token that is part of a character the bytes are not known.
    const bool whole = text.find("\xEF\xBF\xBD") == std::string::npos;
    Json bytes;
    if (whole) bytes = std::vector<uint8_t>(text.begin(), text.end());
    return {{"token", text}, {"logprob", logprob}, {"bytes", bytes}};
  }

  Json scored(const std::vector<Scored>& tokens) const {
    Json list = Json::array();
    for (const Scored& one : tokens) {
      Json json = token_json(one.id, one.logprob);
      json["top_logprobs"] = Json::array();
      for (const auto& [id, logprob] : one.top)
        json["top_logprobs"].push_back(token_json(id, logprob));
      list.push_back(std::move(json));
    }
    return list;
  }

  const Service& service_;
  const Tools tools_;
  const std::string id_;
  const int64_t created_ = static_cast<int64_t>(std::time(nullptr));
  const bool logprobs_, with_usage_;
  std::vector<Choice> choices_;
  UsageSum usage_;
};

ChatRequest read_chat(const Fields& fields, Service& service) {
  ChatRequest request;
  read_sampling(fields, service, request.ask);
  fields.only("functions", {Json::array()});
  const Json* tools = fields.list("tools");
  const ToolChoice choice = read_tool_choice(tools == nullptr ? Tools() : Tools(*tools), fields);
  request.tools = choice.tools;
  request.ask.grammar = read_constraint(fields, service.grammars);
  refuse_beside_call(choice, request.ask.grammar, "response_format or grammar");
  if (fields.flag("logprobs", false))
    request.ask.top_logprobs =
        static_cast<int32_t>(fields.count("top_logprobs", 0, 20).value_or(0));
  request.streamed = fields.flag("stream", false);
  if (const Json* options = fields.object("stream_options"))
    request.with_usage = Fields(*options, "stream_options.").flag("include_usage", false);
  const Json* messages = fields.list("messages");
  if (messages == nullptr) fields.refuse("messages", "is missing");
  const Json* variables = fields.object("chat_template_kwargs");
  ChatPrompt prompt = chat_prompt(service, template_messages(*messages), request.tools, variables);
  if (choice.required)
    constrain_to_call(service, prompt.text, request.tools, variables, request.ask);
  request.thinking = prompt.thinking;
  request.ask.grammar_after = prompt.end_of_thoughts;
  request.ask.ids = std::move(prompt.ids);
  request.ask.cuts = std::move(prompt.cuts);
  request.ask.shown = service.markers;
  const char* most = fields.has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  limit_answer(service, fields.count(most, 1, INT32_MAX), most, request.ask);
  return request;
}

}  // namespace

void add_chat(HttpServer& server, Service& service) {
  server.post("/v1/chat/completions", [&service](const httplib::Request&, const std::string& body,
                                                 httplib::Response& response) {
    const Json json = parse_request(body);
    const ChatRequest request = read_chat(Fields(json), service);
    answer(service, {request.ask}, std::make_unique<ChatReply>(service, request), request.streamed,
           response);
  });
}

}  // namespace klens::apps
