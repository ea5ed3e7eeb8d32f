// klens serve as its clients meet it.
#include <catch2/catch.hpp>
#include <csignal>
#include <thread>

#include "tests/apps/served.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

const std::vector<std::string> kGreedy = {"--greedy", "-t", "1"};

// 15 words, some 20 tokens.
std::string words(size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i)
    text += "The river runs past the town and on to the sea number " + std::to_string(i) + ". ";
  return text;
}

std::string content_of(const std::vector<json>& events) {
  std::string text;
  for (const json& event : events)
    for (const json& choice : event["choices"])
      if (choice.contains("delta"))
        text += choice["delta"].value("content", "");
      else
        text += choice.value("text", "");
  return text;
}

void check_error(const httplib::Result& result, int status, const std::string& type,
                 const std::string& mentions) {
  INFO(mentions);
  REQUIRE(result);
  CHECK(result->status == status);
  const json error = json::parse(result->body).at("error");
  CHECK(error.at("type") == type);
  CHECK(error.contains("param"));
  CHECK(error.contains("code"));
  CHECK_THAT(error.at("message").get<std::string>(), Catch::Contains(mentions));
  CHECK(error.at("message").get<std::string>().find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("a completion is what klens generate makes", "[serve]") {
  const Served served(kModel, kGreedy);
  const json made =
      run_json({"generate", kModel, "-p", "The river", "-n", "24", "--greedy", "--json"});
  const json request = {{"prompt", "The river"}, {"max_tokens", 24}};
  const json answer = served.ask("/v1/completions", request);
  CHECK(answer["object"] == "text_completion");
  CHECK(answer["model"] == "wiki-mamba");
  REQUIRE(answer["choices"].size() == 1);
  CHECK(answer["choices"][0]["text"] == made["continuation"]);
  CHECK(answer["choices"][0]["finish_reason"] == "length");
  CHECK(answer["usage"]["prompt_tokens"] == made["prompt_tokens"]);
  CHECK(answer["usage"]["completion_tokens"] == 24);
  // As ids, and in a stream.
  const json ids = served.ask("/tokenize", {{"content", "The river"}})["tokens"];
  CHECK(served.ask("/v1/completions", {{"prompt", ids}, {"max_tokens", 24}})["choices"] ==
        answer["choices"]);
  CHECK(served.ask("/detokenize", {{"tokens", ids}})["content"] == "The river");
  json streamed = request;
  streamed["stream_options"] = {{"include_usage", true}};
  const auto events = served.stream("/v1/completions", streamed);
  CHECK(content_of(events) == made["continuation"]);
  CHECK(events.back()["choices"].empty());
  CHECK(events.back()["usage"] == answer["usage"]);
  CHECK(events[events.size() - 2]["choices"][0]["finish_reason"] == "length");
  // Without max_tokens there are OpenAI's 16.
  CHECK(served.ask("/v1/completions", {{"prompt", "The river"}})["usage"]["completion_tokens"] ==
        16);
}

TEST_CASE("choices, seeds, stop strings and logprobs", "[serve]") {
  const Served served(kModel, {"-t", "1"});
  const json request = {{"prompt", "The river"}, {"max_tokens", 12}, {"seed", 7}, {"n", 3}};
  const json three = served.ask("/v1/completions", request);
  REQUIRE(three["choices"].size() == 3);
  CHECK(served.ask("/v1/completions", request)["choices"] == three["choices"]);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(three["choices"][i]["index"] == i);
    json one = request;
    one["n"] = 1;
    one["seed"] = 7 + i;
    CHECK(served.ask("/v1/completions", one)["choices"][0]["text"] == three["choices"][i]["text"]);
  }
  CHECK(three["choices"][0]["text"] != three["choices"][1]["text"]);
  CHECK(three["usage"]["completion_tokens"] == 36);

  // Two prompts, two choices each: OpenAI's order.
  json two = request;
  two["prompt"] = {"The river", "In the spring"};
  two["n"] = 2;
  const json four = served.ask("/v1/completions", two);
  REQUIRE(four["choices"].size() == 4);
  CHECK(four["choices"][1]["text"] == three["choices"][1]["text"]);

  // The text up to a stop string, which is not part of it, in a stream, too.
  const std::string text = three["choices"][0]["text"];
  const size_t space = text.find(' ', text.size() / 3);
  REQUIRE(space != std::string::npos);
  const std::string stop = text.substr(space, 2);
  json stopped = request;
  stopped["n"] = 1;
  stopped["stop"] = {"never there", stop};
  const json short_one = served.ask("/v1/completions", stopped);
  CHECK(short_one["choices"][0]["text"] == text.substr(0, text.find(stop)));
  CHECK(short_one["choices"][0]["finish_reason"] == "stop");
  CHECK(short_one["usage"]["completion_tokens"] < 12);
  CHECK(content_of(served.stream("/v1/completions", stopped)) == text.substr(0, text.find(stop)));

  json scored = request;
  scored["n"] = 1;
  scored["logprobs"] = 3;
  scored["temperature"] = 0;
  const json logprobs = served.ask("/v1/completions", scored)["choices"][0]["logprobs"];
  REQUIRE(logprobs["tokens"].size() == 12);
  for (size_t i = 0; i < 12; ++i) {
    CHECK(logprobs["token_logprobs"][i] <= 0);
    CHECK(logprobs["top_logprobs"][i].size() <= 3);
    // Greedily chosen: the likeliest.
    for (const auto& [token, logprob] : logprobs["top_logprobs"][i].items())
      CHECK(logprob <= logprobs["token_logprobs"][i]);
  }
}

TEST_CASE("a chat goes by the model's template", "[serve]") {
  const Folder folder;
  const Served served(model_with_template(folder, kPlainTemplate), kGreedy);
  const json messages = {
      {{"role", "developer"}, {"content", "Be brief."}},
      {{"role", "user"},
       {"content",
        {{{"type", "text"}, {"text", "Tell me of "}}, {{"type", "text"}, {"text", "the sea."}}}}}};
  const std::string prompt =
      "<system>Be brief.</system>\n<user>Tell me of the sea.</user>\n<assistant>";
  CHECK(served.ask("/apply-template", {{"messages", messages}})["prompt"] == prompt);
  const json request = {{"messages", messages}, {"max_tokens", 12}};
  const json answer = served.ask("/v1/chat/completions", request);
  CHECK(answer["object"] == "chat.completion");
  const json& message = answer["choices"][0]["message"];
  CHECK(message["role"] == "assistant");
  const json made = run_json({"generate", kModel, "-p", prompt, "-n", "12", "--greedy", "--json"});
  CHECK(message["content"] == made["continuation"]);
  CHECK(answer["usage"]["prompt_tokens"] == made["prompt_tokens"]);
  const auto events = served.stream("/v1/chat/completions", request);
  CHECK(events.front()["choices"][0]["delta"]["role"] == "assistant");
  CHECK(content_of(events) == message["content"]);
  CHECK(events.back()["choices"][0]["finish_reason"] == "length");

  // Thoughts, which the template begins, end nowhere here: all is thought.
  json thinking = request;
  thinking["chat_template_kwargs"] = {{"thinking", true}};
  const json thought = served.ask("/v1/chat/completions", thinking)["choices"][0]["message"];
  CHECK(thought["content"] == "");
  CHECK(!thought["reasoning_content"].get<std::string>().empty());

  json scored = request;
  scored["logprobs"] = true;
  scored["top_logprobs"] = 2;
  const json logprobs =
      served.ask("/v1/chat/completions", scored)["choices"][0]["logprobs"]["content"];
  REQUIRE(logprobs.size() == 12);
  CHECK(logprobs[0]["top_logprobs"][0]["logprob"] == logprobs[0]["logprob"]);
}

TEST_CASE("what a request asks wrongly is refused with the field's name", "[serve]") {
  const Folder folder;
  const Served served(model_with_template(folder, kPlainTemplate),
                      {"--greedy", "--ctx", "200", "--max-tokens", "50", "--max-body", "100K"});
  const auto completion = [&](json body, const std::string& mentions) {
    body.emplace("prompt", "The river");
    check_error(served.post("/v1/completions", body), 400, "invalid_request_error", mentions);
  };
  completion({{"prompt", json()}}, "prompt");
  completion({{"prompt", 5}}, "prompt must be");
  completion({{"prompt", {1, 99999}}}, "outside the vocabulary");
  completion({{"prompt", {1, -1}}}, "outside the vocabulary");
  completion({{"prompt", json::array()}}, "prompt must have");
  completion({{"prompt", words(20)}}, "--ctx");
  completion({{"temperature", "hot"}}, "temperature must be a number");
  completion({{"temperature", -1}}, "temperature must be from 0");
  completion({{"top_p", 1.5}}, "top_p");
  completion({{"max_tokens", 51}}, "--max-tokens");
  completion({{"max_tokens", 0}}, "max_tokens");
  completion({{"max_tokens", 1.5}}, "whole number");
  completion({{"n", 17}}, "n must be");
  completion({{"stop", 5}}, "stop");
  completion({{"stop", std::string(300, 'x')}}, "stop");
  completion({{"seed", "x"}}, "seed");
  completion({{"logit_bias", {{"5", 1}}}}, "logit_bias is not supported");
  completion({{"presence_penalty", 0.5}}, "presence_penalty");
  completion({{"echo", true}}, "echo");
  completion({{"stream", "yes"}}, "stream");
  completion({{"stream_options", 1}}, "stream_options");

  const auto chat = [&](const json& messages, json more, const std::string& mentions) {
    more["messages"] = messages;
    check_error(served.post("/v1/chat/completions", more), 400, "invalid_request_error", mentions);
  };
  const auto user = [](const json& content) {
    return json::array({json{{"role", "user"}, {"content", content}}});
  };
  const json good = user("Hello");
  chat(json(), {}, "messages");
  chat(json::array(), {}, "messages is empty");
  chat(json::array({1}), {}, "role");
  chat(json::array({json{{"role", "user"}}}), {}, "no content");
  chat(user(json::array({json{{"type", "image_url"}}})), {}, "type text");
  chat(user(5), {}, "content must be");
  chat(good, {{"tools", json::array({json{{"type", "function"}}})}}, "name");
  chat(good, {{"tool_choice", "perhaps"}}, "tool_choice");
  chat(good, {{"chat_template_kwargs", 3}}, "chat_template_kwargs");

  const auto text = [&](const std::string& body, int status, const std::string& mentions) {
    check_error(served.client().Post("/v1/completions", body, "application/json"), status,
                "invalid_request_error", mentions);
  };
  text("", 400, "JSON object");
  text("[]", 400, "JSON object");
  text("{\"prompt\": \"\xff\xfe\"}", 400, "UTF-8");
  text("{\"prompt\": \"a\"", 400, "JSON object");
  text("{\"prompt\":" + std::string(90000, '[') + "}", 400, "nested");
  text("{\"prompt\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 400, "nested");
  text(std::string(200000, ' '), 413, "bytes");
  check_error(served.client().Get("/v2/models"), 404, "not_found_error", "/v2/models");
  check_error(served.client().Get("/v1/completions"), 405, "invalid_request_error", "POST");
  CHECK(served.ask("/v1/completions", {{"prompt", "The"}})["choices"].size() == 1);
  // Of a model without a template only texts are asked.
  const Served plain(kModel);
  check_error(plain.post("/v1/chat/completions", {{"messages", good}}), 400,
              "invalid_request_error", "no chat template");
}

TEST_CASE("the server tells of itself", "[serve]") {
  const Served served(kModel, {"--name", "river"});
  CHECK(served.get("/health")["status"] == "ok");
  const json models = served.get("/v1/models");
  REQUIRE(models["data"].size() == 1);
  CHECK(models["data"][0]["id"] == "river");
  CHECK(models["data"][0]["meta"]["parameters"] > 1000000);
  CHECK(served.get("/v1/models/river") == models["data"][0]);
  served.ask("/v1/completions", {{"prompt", words(20)}, {"max_tokens", 2}});
  const double queries = served.metric("klens_prefix_queries_total");
  CHECK(queries > 100);
  CHECK(served.metric("klens_prefix_hits_total") == 0);
  const json again = served.ask("/v1/completions", {{"prompt", words(20)}, {"max_tokens", 2}});
  CHECK(served.metric("klens_prefix_queries_total") == 2 * queries);
  CHECK(served.metric("klens_prefix_hits_total") ==
        again["usage"]["prompt_tokens_details"]["cached_tokens"]);
  CHECK(again["usage"]["prompt_tokens_details"]["cached_tokens"] >= queries - 64);
  CHECK(served.metric("klens_generated_tokens_total") == 4);
  CHECK(served.metric("klens_prompt_tokens_total") == 2 * queries);
  CHECK(served.comes_to_rest());
  CHECK(served.metric("klens_first_token_seconds_count") == 2);
  const std::vector<json> log = served.log();
  REQUIRE(log.size() >= 5);
  CHECK(log[3]["path"] == "/v1/completions");
  CHECK(log[3]["status"] == 200);
  CHECK(log[3]["completion_tokens"] == 2);
  CHECK(log[3]["first_token_seconds"] > 0);
}

TEST_CASE("who may ask: Host, Origin, key", "[serve]") {
  const Served served(kModel,
                      {"--allow-host", "klens.example", "--allow-origin", "https://chat.example"});
  const auto with = [&](const httplib::Headers& headers) {
    const httplib::Result got = served.client().Get("/v1/models", headers);
    REQUIRE(got);
    return got->status;
  };
  const std::string own = "127.0.0.1:" + std::to_string(served.port());
  CHECK(with({{"Host", own}}) == 200);
  CHECK(with({{"Host", "LOCALHOST:1"}}) == 200);
  CHECK(with({{"Host", "[::1]:1"}}) == 200);
  CHECK(with({{"Host", "klens.example"}}) == 200);
  CHECK(with({{"Host", "rebound.example"}}) == 403);
  CHECK(with({{"Host", "127.0.0.1.rebound.example"}}) == 403);
  CHECK(with({{"Host", ""}}) == 403);
  CHECK(with({{"Host", own}, {"Origin", "http://" + own}}) == 200);
  CHECK(with({{"Host", own}, {"Origin", "http://evil.example"}}) == 403);
  CHECK(with({{"Host", own}, {"Origin", "null"}}) == 403);
  CHECK(with({{"Host", own}, {"Origin", "http://127.0.0.1:1"}}) == 403);
  CHECK(with({{"Host", own}, {"Sec-Fetch-Site", "cross-site"}}) == 403);
  const httplib::Result allowed = served.client().Get(
      "/v1/models", httplib::Headers{{"Host", own}, {"Origin", "https://chat.example"}});
  CHECK(allowed->status == 200);
  CHECK(allowed->get_header_value("Access-Control-Allow-Origin") == "https://chat.example");
  // What stands in the body of a refused request is not the next request.
  const std::string inner = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (const char* method : {"POST", "GET"}) {
    const std::string got =
        served.raw(std::string(method) + " /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: " +
                   "http://evil.example\r\nContent-Length: " + std::to_string(inner.size()) +
                   "\r\n\r\n" + inner);
    CHECK_THAT(got, Catch::StartsWith("HTTP/1.1 403"));
    CHECK(got.find("HTTP/1.1", 8) == std::string::npos);
  }

  const Served locked(kModel, {"--api-key", "secret"});
  const auto key = [&](const std::string& path, const std::string& value) {
    const httplib::Result got =
        locked.client().Get(path, httplib::Headers{{"Authorization", value}});
    REQUIRE(got);
    return got->status;
  };
  CHECK(key("/v1/models", "Bearer secret") == 200);
  for (const char* wrong : {"", "secret", "Bearer", "Bearer ", "Bearer secrets", "Bearer secre"})
    CHECK(key("/v1/models", wrong) == 401);
  CHECK(key("/health", "") == 200);
  CHECK(key("/metrics", "") == 401);
  check_error(locked.post("/v1/completions", {{"prompt", "a"}}), 401, "authentication_error",
              "Bearer");
}

TEST_CASE("a full queue says when to come again", "[serve]") {
  const Served served(kModel, {"--batch", "1", "--queue", "1", "-t", "1", "--max-tokens", "100000",
                               "--ctx", "1000000"});
  const json endless = {
      {"prompt", "The river"}, {"max_tokens", 100000}, {"ignore_eos", true}, {"stream", true}};
  // Clients that are then gone: the one at work and the one that waits.
  std::vector<std::thread> clients;
  for (int i = 0; i < 2; ++i)
    clients.emplace_back([&] {
      httplib::Client client = served.client();
      client.set_read_timeout(2);
      size_t bytes = 0;
      httplib::Request request;
      request.method = "POST";
      request.path = "/v1/completions";
      request.set_header("Content-Type", "application/json");
      request.body = endless.dump();
      request.content_receiver = [&](const char*, size_t count, uint64_t, uint64_t) {
        return (bytes += count) < 100000;
      };
      client.send(request);
    });
  while (served.metric("klens_answers_active") + served.metric("klens_answers_waiting") < 2)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const httplib::Result third = served.post("/v1/completions", {{"prompt", "The"}});
  check_error(third, 429, "rate_limit_error", "try again");
  CHECK(!third->get_header_value("Retry-After").empty());
  CHECK(served.metric("klens_rejected_total") == 1);
  for (std::thread& client : clients) client.join();
  // Nobody waits for them any more: there is room again.
  for (int i = 0; served.metric("klens_cancelled_total") < 2 && i < 500; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(served.metric("klens_cancelled_total") == 2);
  CHECK(served.ask("/v1/completions", {{"prompt", "The"}})["choices"].size() == 1);
}

TEST_CASE("SIGTERM lets answers end", "[serve]") {
  Served served(kModel, {"-t", "1", "--max-tokens", "2000"});
  const json request = {{"prompt", "The river"}, {"max_tokens", 2000}, {"ignore_eos", true}};
  httplib::Client idle = served.client();
  REQUIRE(idle.Get("/health"));  // a connection that is kept does not keep the server
  json answer;
  std::thread client([&] { answer = served.ask("/v1/completions", request); });
  while (served.metric("klens_answers_active") == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(served.stop() == 0);
  client.join();
  CHECK(answer["usage"]["completion_tokens"] == 2000);
}

TEST_CASE("what keeps a server from starting is one line", "[serve]") {
  const Served served(kModel);
  check_failure({"serve", kModel, "--port", std::to_string(served.port())}, "--port");
  check_failure({"serve", kModel, "--host", "no.such.host.invalid", "--port", "0"}, "--host");
  check_failure({"serve", "no-such-model", "--port", "0"}, "no-such-model");
  check_failure({"serve", kModel, "--port", "0", "--log", "/no/such/folder/log"}, "/no/such");
  check_usage_error({"serve"}, "MODEL");
  check_usage_error({"serve", kModel, "--port", "70000"}, "--port");
  check_usage_error({"serve", kModel, "--batch", "0"}, "--batch");
  check_usage_error({"serve", kModel, "--api-key", ""}, "--api-key");
}
