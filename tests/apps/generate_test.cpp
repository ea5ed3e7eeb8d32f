// `klens generate`: samples, stop strings, log probabilities, pipes, JSON lines.
#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <set>
#include <sstream>

#include "apps/logprobs.h"
#include "apps/stop_text.h"
#include "tests/apps/run_program.h"

using namespace klens::testing;
using klens::apps::StopText;
using nlohmann::json;

namespace {

json generated(const std::vector<std::string>& options) {
  return run_json(std::vector<std::string>{"generate", kModel, "-p", "The river", "--json"} +
                  options);
}

std::vector<json> json_lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

// What is shown of a text that comes in these pieces.
std::string shown(std::vector<std::string> stops, const std::vector<std::string>& pieces) {
  StopText stop(std::move(stops));
  std::string text;
  for (const std::string& piece : pieces) text += stop.push(piece);
  return text + stop.finish();
}

}  // namespace

TEST_CASE("a text ends before the first stop string, however it is cut into pieces") {
  const std::string text = "one two three two";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, text},
      {{"four"}, text},
      {{"two"}, "one "},
      {{"three", "two"}, "one "},
      {{"o three"}, "one tw"},
      {{"twofold", "two three two more"}, text},
      {{"one"}, ""},
      {{"two three two"}, "one "},
      {{""}, text}};
  for (const auto& [stops, want] : cases) {
    CAPTURE(stops, want);
    for (size_t cut = 0; cut <= text.size(); ++cut)
      CHECK(shown(stops, {text.substr(0, cut), text.substr(cut)}) == want);
    std::vector<std::string> letters;
    for (const char c : text) letters.emplace_back(1, c);
    CHECK(shown(stops, letters) == want);
  }
  // What cannot be the beginning of a stop string is not held back.
  StopText stop({"aab"});
  CHECK(stop.push("xa") == "x");
  CHECK(stop.push("a") == "");
  CHECK(stop.push("a") == "a");
  CHECK(stop.push("b and more") == "");
  CHECK(stop.found());
  CHECK(stop.push("more") == "");
}

TEST_CASE("log probabilities are those of the softmax") {
  const std::vector<float> logits = {1, 3, 3, -INFINITY, 0};
  const auto all = klens::apps::logprobs(logits, 4, 9);
  REQUIRE(all.size() == 6);
  CHECK(all[0].id == 4);
  CHECK(all[1].id == 1);  // the smaller id on ties
  CHECK(all[2].id == 2);
  double sum = 0;
  for (size_t i = 1; i < all.size(); ++i) sum += std::exp(all[i].value);
  CHECK(std::fabs(sum - 1) < 1e-12);
  CHECK(klens::apps::logprobs(logits, 0, 0).size() == 1);
  // Large logits do not overflow.
  CHECK(std::fabs(klens::apps::logprobs(std::vector<float>{3e38f, 3e38f}, 0, 0)[0].value +
                  std::log(2)) < 1e-12);
}

TEST_CASE("samples are what each seed gives alone") {
  const json several = generated({"--samples", "3", "--seed", "7", "-n", "20"});
  REQUIRE(several["samples"].size() == 3);
  std::set<std::string> texts;
  size_t tokens = 0;
  for (size_t i = 0; i < 3; ++i) {
    const json& sample = several["samples"][i];
    CHECK(sample["sample"] == i);
    CHECK(sample["seed"] == 7 + i);
    const json alone = generated({"--seed", std::to_string(7 + i), "-n", "20"});
    CHECK(alone["ids"] == sample["ids"]);
    CHECK(alone["text"] == sample["text"]);
    CHECK(alone["continuation"] == sample["continuation"]);
    texts.insert(sample["text"]);
    tokens += sample["generated_tokens"].get<size_t>();
  }
  CHECK(texts.size() == 3);
  CHECK(several["generated_tokens"] == tokens);

  // As lines, and as plain text.
  const std::vector<std::string> call = {"generate", kModel, "-p", "The river", "--samples",
                                         "3",        "-n",   "20", "--seed",    "7"};
  const std::vector<json> lines = json_lines(run(call + std::vector<std::string>{"--jsonl"}).out);
  REQUIRE(lines.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(lines[i]["ids"] == several["samples"][i]["ids"]);
  const std::string plain = run(call).out;
  for (const json& line : lines)
    CHECK_THAT(plain, Catch::Contains(line["text"].get<std::string>()));
  CHECK_THAT(plain, Catch::StartsWith("--- sample 1, seed 7\nThe river"));
  CHECK(json_lines(run({"generate", kModel, "-p", "x", "-n", "2", "--jsonl"}).out).size() == 1);
}

TEST_CASE("a continuation ends before a stop string") {
  const json whole = generated({"--greedy", "-n", "40"});
  const std::string text = whole["continuation"];
  const std::string word = text.substr(text.find(' ', 12), 5);
  const json stopped = generated({"--greedy", "-n", "40", "--stop", "never", "--stop", word});
  CHECK(stopped["stop"] == "stop");
  CHECK(stopped["continuation"] == text.substr(0, text.find(word)));
  CHECK(stopped["generated_tokens"] < whole["generated_tokens"]);
  const Outcome plain = run({"generate", kModel, "-p", "The river", "--greedy", "-n", "40",
                             "--stop", word, "--no-display-prompt"});
  CHECK(plain.out == stopped["continuation"].get<std::string>() + "\n");
  CHECK_THAT(plain.err, Catch::Contains("(stop)"));
  // What might have become one is printed in the end.
  const json unstopped = generated({"--greedy", "-n", "40", "--stop", text + " and more"});
  CHECK(unstopped["continuation"] == text);
  CHECK(unstopped["stop"] == whole["stop"]);
  // Several lines of the environment are several strings.
  Call call;
  call.arguments = {"generate", kModel, "-p", "The river", "--greedy", "-n", "40", "--json"};
  call.environment = {{"KLENS_ARG_STOP", "never\n" + word}};
  CHECK(json::parse(run(call).out)["continuation"] == stopped["continuation"]);
}

TEST_CASE("every token has its log probability and the likeliest beside it") {
  const json result = generated({"--greedy", "-n", "6", "--logprobs", "3"});
  REQUIRE(result["logprobs"].size() == result["generated_tokens"]);
  std::string text;
  for (size_t i = 0; i < result["logprobs"].size(); ++i) {
    const json& token = result["logprobs"][i];
    const size_t at = result["prompt_tokens"].get<size_t>() + i;
    CHECK(token["id"] == result["ids"][at]);
    CHECK(token["logprob"] <= 0);
    REQUIRE(token["top"].size() == 3);
    CHECK(token["top"][0]["id"] == token["id"]);  // greedy
    CHECK(token["top"][0]["logprob"] == token["logprob"]);
    CHECK(token["top"][1]["logprob"] >= token["top"][2]["logprob"]);
    text += token["text"].get<std::string>();
  }
  CHECK_THAT(text, Catch::Contains(result["continuation"].get<std::string>()));
  // They are the model's, whatever the sampler does.
  const json hot = generated({"--temp", "5", "--top-k", "0", "-n", "1", "--logprobs", "1"});
  CHECK(hot["logprobs"][0]["top"] == json::array({result["logprobs"][0]["top"][0]}));
  CHECK(generated({"-n", "2", "--logprobs", "0"})["logprobs"][0]["top"].empty());
}

TEST_CASE("the prompt comes through a pipe") {
  Call call;
  call.arguments = {"generate", kModel, "-n", "5", "--greedy", "--json"};
  call.input = "The river";
  const Outcome outcome = run(call);
  REQUIRE(outcome.code == 0);
  CHECK(json::parse(outcome.out)["text"] == generated({"-n", "5", "--greedy"})["text"]);
  call.input = "";
  CHECK(run(call).code == 2);
}

TEST_CASE("samples that are interrupted are printed as far as they came") {
  Call call;
  call.arguments = {"generate", kModel, "-p",        "The river",    "--samples",
                    "2",        "-n",   "100000000", "--ignore-eos", "--jsonl"};
  call.signal = SIGINT;
  call.signal_after = std::chrono::milliseconds(1500);
  const Outcome outcome = run(call);
  REQUIRE(outcome.code == 0);
  const std::vector<json> lines = json_lines(outcome.out);
  REQUIRE(lines.size() == 2);
  for (const json& line : lines) {
    CHECK(line["stop"] == "interrupt");
    CHECK(line["generated_tokens"] > 0);
    CHECK(line["generated_tokens"] == lines[0]["generated_tokens"]);
  }
}

TEST_CASE("wrong calls of generate") {
  check_usage_error({"generate", kModel, "-p", "x", "--samples", "0"}, "--samples");
  check_usage_error({"generate", kModel, "-p", "x", "--stop", ""}, "--stop");
  check_usage_error({"generate", kModel, "-p", "x", "--logprobs", "2"}, "--json");
  check_usage_error({"generate", kModel, "-p", "x", "--json", "--logprobs", "-1"}, "--logprobs");
  check_usage_error({"generate", kModel, "-p", "x", "--json", "--jsonl"}, "exclude");
}
