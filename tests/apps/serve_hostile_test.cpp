// Clients of klens serve that do what none should: nobody else notices.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "tests/apps/served.h"

using namespace klens::testing;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

using Clock = std::chrono::steady_clock;

const std::string kHost = "Host: localhost\r\n";

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\n" + kHost +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

json endless() {
  return {{"prompt", "The river"}, {"max_tokens", 3000}, {"ignore_eos", true}, {"stream", true}};
}

void still_answers(const Served& served) {
  CHECK(served.ask("/v1/completions", {{"prompt", "The"}, {"max_tokens", 2}})["choices"].size() ==
        1);
}

}  // namespace

TEST_CASE("what is no request is refused, and nobody else notices", "[serve]") {
  const Served served(kModel, {"-t", "1"});
  const auto refused = [&](const std::string& bytes, const std::string& status) {
    INFO(bytes.substr(0, 200));
    const std::string got = served.raw(bytes);
    CHECK_THAT(got, Catch::StartsWith("HTTP/1.1 " + status));
    CHECK(got.find("HTTP/1.1", 8) == std::string::npos);  // one answer, and the end
    CHECK(served.runs());
  };
  refused("\r\n\r\n", "400");
  refused("nonsense\r\n\r\n", "400");
  refused("GET / HTTP/9.9\r\n\r\n", "400");
  refused(std::string("GET /\0 HTTP/1.1\r\n\r\n", 19), "40");
  refused("GET /" + std::string(100000, 'a') + " HTTP/1.1\r\n" + kHost + "\r\n", "414");
  refused("GET /health HTTP/1.1\r\n" + kHost + "X: " + std::string(1 << 20, 'x') + "\r\n\r\n",
          "400");
  refused("GET /health HTTP/1.1\r\n\r\n", "403");
  refused("POST /v1/completions HTTP/1.1\r\n" + kHost + "Content-Length: 99999999999\r\n\r\n",
          "413");
  refused("POST /v1/completions HTTP/1.1\r\n" + kHost + "Content-Length: -5\r\n\r\n", "400");
  refused("POST /v1/completions HTTP/1.1\r\n" + kHost +
              "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "400");
  refused("POST /v1/completions HTTP/1.1\r\n" + kHost +
              "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
          "400");
  refused("POST /v1/completions HTTP/1.1\r\n" + kHost +
              "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
          "415");
  refused(
      "POST /nothing HTTP/1.1\r\n" + kHost + "Content-Length: 30\r\n\r\n" + std::string(30, 'x'),
      "404");
  refused("DELETE /v1/models HTTP/1.1\r\n" + kHost + "\r\n", "405");
  // A megabyte of headers, line by line, and one line that never ends.
  std::string many = "GET /health HTTP/1.1\r\n" + kHost;
  for (int i = 0; i < 200000; ++i)
    many += "X-" + std::to_string(i) + ": " + std::string(50, 'y') + "\r\n";
  served.raw(many);
  served.raw("GET /health HTTP/1.1\r\nX: " + std::string(size_t{20} << 20, 'x'));
  CHECK(served.resident_bytes() < int64_t{400} << 20);
  // Chunks, too, are bounded; a whole request in chunks is one.
  const std::string chunked = "POST /v1/completions HTTP/1.1\r\n" + kHost +
                              "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
  CHECK_THAT(served.raw(chunked + "20\r\n{\"prompt\":\"The\",\"max_tokens\": 1}\r\n0\r\n\r\n"),
             Catch::StartsWith("HTTP/1.1 200"));
  std::string big = chunked;
  for (int i = 0; i < 100; ++i) big += "10000\r\n" + std::string(0x10000, ' ') + "\r\n";
  CHECK_THAT(served.raw(big), Catch::StartsWith("HTTP/1.1 413"));
  still_answers(served);
  CHECK(served.comes_to_rest());
}

TEST_CASE("random bytes and broken requests", "[serve]") {
  const Served served(kModel, {"-t", "1"});
  std::mt19937_64 random(1);
  const std::string good = post("/v1/completions", R"({"prompt":"The","max_tokens":2,"n":1})");
  for (int i = 0; i < 300; ++i) {
    std::string bytes = good;
    for (uint64_t change = 0; change < 1 + random() % 6; ++change)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 3 == 0) bytes.resize(random() % bytes.size());
    const int socket = served.connect();
    ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (random() % 2 == 0) ::shutdown(socket, SHUT_WR);
    ::close(socket);
  }
  still_answers(served);
  CHECK(served.comes_to_rest());
  CHECK(served.runs());
}

TEST_CASE("clients that vanish, read slowly or say nothing", "[serve]") {
  const Served served(kModel, {"-t", "1", "--batch", "4"});
  const std::string request = post("/v1/completions", endless().dump());
  // Killed in the middle of a stream: the kernel closes the socket, or resets it.
  for (const bool reset : {false, true}) {
    const int socket = served.connect();
    ::send(socket, request.data(), request.size(), MSG_NOSIGNAL);
    char some[64];
    CHECK(::recv(socket, some, sizeof some, 0) > 0);
    if (reset) {
      const linger now{1, 0};
      ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    ::close(socket);
  }
  // Gone before the answer, which was not to be streamed.
  json whole = endless();
  whole["stream"] = false;
  const std::string other = post("/v1/completions", whole.dump());
  const int gone = served.connect();
  ::send(gone, other.data(), other.size(), MSG_NOSIGNAL);
  while (served.metric("klens_answers_active") == 0) std::this_thread::sleep_for(5ms);
  ::close(gone);
  CHECK(served.comes_to_rest());
  CHECK(served.metric("klens_cancelled_total") >= 1);

  // One that never reads, some that say nothing or half a request: others are answered meanwhile.
  std::vector<int> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(served.connect());
  const int half = served.connect();
  ::send(half, request.data(), request.size() / 2, MSG_NOSIGNAL);
  const int deaf = served.connect();
  const int small = 2048;
  ::setsockopt(deaf, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  ::send(deaf, request.data(), request.size(), MSG_NOSIGNAL);
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < 5; ++i) still_answers(served);
  CHECK(Clock::now() - start < 20s);
  for (const int socket : silent) ::close(socket);
  ::close(half);
  ::close(deaf);
  CHECK(served.comes_to_rest());
}

TEST_CASE("more connections than are served at once", "[serve]") {
  const Served served(kModel, {"-t", "1", "--connections", "4"});
  std::vector<std::thread> clients;
  std::atomic<int> answered{0};
  for (int i = 0; i < 16; ++i)
    clients.emplace_back([&] {
      const httplib::Result got = served.client().Get("/health");
      if (got && got->status == 200) ++answered;
    });
  for (std::thread& client : clients) client.join();
  CHECK(answered == 16);
}

// 64 clients at once, each answer as it is alone: 60 s, or as long as KLENS_SERVE_SECONDS says.
TEST_CASE("many clients for a while: no answer is lost, mixed up or changed", "[serve][many]") {
  const char* wanted = std::getenv("KLENS_SERVE_SECONDS");
  const auto seconds = std::chrono::seconds(wanted != nullptr ? std::atoi(wanted) : 60);
  const Folder folder;
  const std::string model = model_with_template(folder, kPlainTemplate);
  struct Question {
    std::string path;
    json body, answer;
  };
  std::vector<Question> questions;
  std::mt19937_64 random(3);
  for (int i = 0; i < 40; ++i) {
    std::string text = i % 4 == 0 ? std::string(1500, 'a') : "";
    for (uint64_t word = 0; word < 3 + random() % 80; ++word)
      text += "word" + std::to_string(random() % 50) + " ";
    json body = {{"max_tokens", 1 + random() % 24}, {"seed", random() % 100}, {"temperature", 1}};
    if (i % 2 == 0) body["n"] = 1 + i % 3;
    if (i % 3 == 0) body["stop"] = {"e", "the"};
    if (i % 2 == 0) {
      body["prompt"] = text;
    } else {
      body["messages"] = {{{"role", "system"}, {"content", std::string(400, 's')}},
                          {{"role", "user"}, {"content", text}}};
    }
    questions.push_back({i % 2 == 0 ? "/v1/completions" : "/v1/chat/completions", body, {}});
  }
  {
    const Served one(model, {"--batch", "3", "--cache-memory", "0"});
    for (Question& question : questions)
      question.answer = one.ask(question.path, question.body)["choices"];
  }
  const Served served(model, {"--batch", "16", "--queue", "400", "--cache-memory", "64M"});
  std::atomic<int> answered{0}, wrong{0}, failed{0};
  const Clock::time_point end = Clock::now() + seconds;
  std::vector<std::thread> clients;
  for (uint64_t c = 0; c < 64; ++c)
    clients.emplace_back([&, c] {
      std::mt19937_64 chance(c);
      httplib::Client client = served.client();
      while (Clock::now() < end) {
        const Question& question = questions[chance() % questions.size()];
        const httplib::Result got =
            client.Post(question.path, question.body.dump(), "application/json");
        if (!got || got->status != 200) {
          ++failed;
        } else {
          ++answered;
          if (json::parse(got->body)["choices"] != question.answer) ++wrong;
        }
      }
    });
  // What was held after a while is what is held in the end.
  std::this_thread::sleep_for(seconds / 2);
  const int64_t half_way = served.resident_bytes();
  for (std::thread& client : clients) client.join();
  const int64_t in_the_end = served.resident_bytes();
  INFO(answered << " answers, " << half_way << " bytes, then " << in_the_end);
  CHECK(answered > 64);
  CHECK(wrong == 0);
  CHECK(failed == 0);
  CHECK(in_the_end < half_way + (int64_t{64} << 20));
  CHECK(served.comes_to_rest());
}
