// /v1/responses: chats in OpenAI's newer form, each request whole in itself.
#include <ctime>

#include "apps/cli/output.h"
#include "apps/serve/answer_parser.h"
#include "apps/serve/chat_prompt.h"
#include "apps/serve/reply.h"
#include "apps/serve/responses_input.h"
#include "apps/serve/sampling.h"
#include "apps/serve/service.h"

namespace klens::apps {
namespace {

struct ResponsesRequest {
  Ask ask;
  Tools tools;
  bool thinking = false, streamed = false;
  Json told;  // what a response repeats of its request
};

// Items of output, one after another: thoughts, a message, calls.
class ResponsesReply : public Reply {
 public:
  explicit ResponsesReply(const Service& service, const ResponsesRequest& request)
      : service_(service),
        tools_(request.tools),
        parser_(request.thinking, &tools_),
        told_(request.told),
        id_(new_id("resp_")) {}

  std::string opening() override {
    std::string events = tell("response.created", {{"response", response("in_progress")}});
    return events += tell("response.in_progress", {{"response", response("in_progress")}});
  }

  std::string add(const Piece& piece) override {
    std::string events = add_parts(parser_.push(piece.text));
    if (!piece.ended) return events;
    usage_ = piece.usage;
    cut_ = piece.finish == Finish::kLength;
    events += add_parts(parser_.finish());
    return events + close();
  }

  std::string closing() override {
    return tell(cut_ ? "response.incomplete" : "response.completed", {{"response", whole()}});
  }

  std::string failure(const ApiError& error) override {
    Json failed = response("failed");
    failed["error"] = {{"code", "server_error"}, {"message", error.what()}};
    return tell("response.failed", {{"response", failed}});
  }

  Json whole() override { return response(cut_ ? "incomplete" : "completed"); }

 private:
  std::string tell(const std::string& type, const Json& more) {
    Json data = {{"type", type}, {"sequence_number", sequence_++}};
    data.update(more);
    return "event: " + type + "\n" + event(data);
  }

  std::string tell_of_part(const std::string& type, Json more) {
    Json data = {{"item_id", output_.back()["id"]},
                 {"output_index", output_.size() - 1},
                 {"content_index", 0}};
    data.update(more);
    return tell(type, data);
  }

  std::string tell_of_item(const std::string& type, const Json& item) {
    return tell(type, {{"output_index", output_.size() - 1}, {"item", item}});
  }

  std::string open(const std::string& type) {
    if (open_ == type) return "";
    std::string events = close();
    open_ = type;
    if (type == "reasoning") {
      output_.push_back({{"id", new_id("rs_")}, {"type", type}, {"summary", Json::array()}});
    } else {
      output_.push_back({{"id", new_id("msg_")},
                         {"type", type},
                         {"status", "in_progress"},
                         {"role", "assistant"},
                         {"content", Json::array()}});
    }
    events += tell_of_item("response.output_item.added", output_.back());
    return events + tell_of_part("response.content_part.added", {{"part", part("")}});
  }

  Json part(const std::string& text) const {
    if (open_ == "reasoning") return {{"type", "reasoning_text"}, {"text", text}};
    return {{"type", "output_text"},
            {"text", text},
            {"annotations", Json::array()},
            {"logprobs", Json::array()}};
  }

  std::string say(const std::string& type, const std::string& text) {
    if (text.empty()) return "";
    std::string events = open(type);
    text_ += text;
    Json more = {{"delta", text}};
    if (type == "message") more["logprobs"] = Json::array();
    return events + tell_of_part(text_event() + ".delta", more);
  }

  std::string text_event() const {
    return open_ == "reasoning" ? "response.reasoning_text" : "response.output_text";
  }

  std::string close() {
    if (open_.empty()) return "";
    Json& item = output_.back();
    item["content"] = Json::array({part(text_)});
    if (open_ == "message") item["status"] = cut_ ? "incomplete" : "completed";
    Json more = {{"text", text_}};
    if (open_ == "message") more["logprobs"] = Json::array();
    std::string events = tell_of_part(text_event() + ".done", more);
    events += tell_of_part("response.content_part.done", {{"part", part(text_)}});
    events += tell_of_item("response.output_item.done", item);
    open_.clear();
    text_.clear();
    return events;
  }

  std::string add_call(const ToolCall& call) {
    std::string events = close();
    const std::string arguments = compact(call.arguments);
    Json item = {{"id", new_id("fc_")},      {"type", "function_call"}, {"status", "in_progress"},
                 {"call_id", new_call_id()}, {"name", call.name},       {"arguments", ""}};
    output_.push_back(item);
    events += tell_of_item("response.output_item.added", item);
    const Json where = {{"item_id", item["id"]}, {"output_index", output_.size() - 1}};
    const auto with = [&](Json more) {
      Json data = where;
      data.update(more);
      return data;
    };
    events += tell("response.function_call_arguments.delta", with({{"delta", arguments}}));
    events += tell("response.function_call_arguments.done",
                   with({{"name", call.name}, {"arguments", arguments}}));
    output_.back()["arguments"] = arguments;
    output_.back()["status"] = "completed";
    return events + tell_of_item("response.output_item.done", output_.back());
  }

  std::string add_parts(const AnswerParts& parts) {
    std::string events = say("reasoning", parts.reasoning);
    events += say("message", parts.content);
    for (const ToolCall& call : parts.calls) events += add_call(call);
    return events;
  }

  Json response(const char* status) const {
    Json json = {{"id", id_},
                 {"object", "response"},
                 {"created_at", created_},
                 {"status", status},
                 {"background", false},
                 {"error", Json()},
                 {"incomplete_details", Json()},
                 {"model", service_.options.name},
                 {"output", output_},
                 {"parallel_tool_calls", true},
                 {"previous_response_id", Json()},
                 {"store", false},
                 {"truncation", "disabled"}};
    json.update(told_);
    if (std::string_view(status) == "incomplete")
      json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    json["usage"] = Json();
    if (usage_.made > 0)
      json["usage"] = {{"input_tokens", usage_.prompt},
                       {"input_tokens_details", {{"cached_tokens", usage_.cached}}},
                       {"output_tokens", usage_.made},
                       {"output_tokens_details", {{"reasoning_tokens", 0}}},
                       {"total_tokens", usage_.prompt + usage_.made}};
    return json;
  }

  const Service& service_;
  const Tools tools_;
  AnswerParser parser_;
  const Json told_;
  const std::string id_;
  const int64_t created_ = static_cast<int64_t>(std::time(nullptr));
  int64_t sequence_ = 0;
  Json output_ = Json::array();
  std::string open_, text_;  // the type of the item that is being said, and what it says
  bool cut_ = false;
  Usage usage_;
};

Json or_null(const Json* json) { return json == nullptr ? Json() : *json; }

ResponsesRequest read_responses(const Fields& fields, Service& service) {
  for (const char* name : {"previous_response_id", "conversation"})
    if (fields.has(name))
      fields.refuse(name, "is not supported: the server keeps no responses; send the conversation");
  fields.only("background", {false});
  fields.only("n", {1});
  ResponsesRequest request;
  read_sampling(fields, service, request.ask);
  const ToolChoice choice = read_tool_choice(tools_of_input(fields), fields);
  request.tools = choice.tools;
  Json format = {{"type", "text"}};
  if (const Json* text = fields.object("text"))
    if (const Json* given = Fields(*text, "text.").object("format")) format = *given;
  request.ask.grammar = constraint_of_format(format, format, "text.format", service.grammars);
  refuse_beside_call(choice, request.ask.grammar, "text.format");
  request.streamed = fields.flag("stream", false);
  const Json* variables = fields.object("chat_template_kwargs");
  ChatPrompt prompt =
      chat_prompt(service, template_messages(messages_of_input(fields)), request.tools, variables);
  if (choice.required)
    constrain_to_call(service, prompt.text, request.tools, variables, request.ask);
  request.thinking = prompt.thinking;
  request.ask.grammar_after = prompt.end_of_thoughts;
  request.ask.ids = std::move(prompt.ids);
  request.ask.cuts = std::move(prompt.cuts);
  request.ask.shown = service.markers;
  const char* most = "max_output_tokens";
  limit_answer(service, fields.count(most, 1, INT32_MAX), most, request.ask);
  const Json* tools = fields.list("tools");
  request.told = {{"instructions", or_null(fields.find("instructions"))},
                  {"max_output_tokens", or_null(fields.find(most))},
                  {"metadata", fields.has("metadata") ? *fields.find("metadata") : Json::object()},
                  {"temperature", request.ask.sampler.temperature},
                  {"top_p", request.ask.sampler.top_p},
                  {"text", {{"format", format}}},
                  {"tool_choice", fields.has("tool_choice") ? *fields.find("tool_choice") : "auto"},
                  {"tools", tools == nullptr ? Json::array() : *tools}};
  return request;
}

}  // namespace

void add_responses(HttpServer& server, Service& service) {
  server.post("/v1/responses", [&service](const httplib::Request&, const std::string& body,
                                          httplib::Response& response) {
    const Json json = parse_request(body);
    const ResponsesRequest request = read_responses(Fields(json), service);
    answer(service, {request.ask}, std::make_unique<ResponsesReply>(service, request),
           request.streamed, response);
  });
}

}  // namespace klens::apps
