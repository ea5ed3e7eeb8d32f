// `klens embed`: its forms of input and output.
#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

std::vector<double> numbers_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<double> numbers;
  for (double number = 0; in >> number;) numbers.push_back(number);
  return numbers;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

Outcome embed(const std::vector<std::string>& options, const std::string& input = "") {
  Call call;
  call.arguments = std::vector<std::string>{"embed", kModel} + options;
  call.input = input;
  return run(call);
}

}  // namespace

TEST_CASE("a text's vector is the same from every kind of input, in every form of output") {
  const json object = run_json({"embed", kModel, "-p", "The river", "--json"});
  CHECK(object["hidden_size"] == 256);
  CHECK(object["pooling"] == "last");
  CHECK(object["normalised"] == false);
  REQUIRE(object["embeddings"].size() == 1);
  const json& entry = object["embeddings"][0];
  const std::vector<double> vector = entry["embedding"];
  REQUIRE(vector.size() == 256);
  CHECK(entry["index"] == 0);
  CHECK(entry["tokens"] == object["tokens"]);

  CHECK(numbers_of(embed({"-p", "The river"}).out) == vector);
  CHECK(numbers_of(embed({}, "The river").out) == vector);
  CHECK(numbers_of(embed({"-f", "-"}, "The river").out) == vector);
  CHECK(numbers_of(embed({"-p", "-"}, "The river").out) == vector);
  const Folder folder;
  write_text(folder / "text", "The river");
  CHECK(numbers_of(embed({"-f", folder / "text"}).out) == vector);
  write_text(folder / "ids", run({"tokenize", kModel, "--special", "-p", "The river"}).out);
  CHECK(numbers_of(embed({"--ids", folder / "ids"}).out) == vector);
  const std::vector<std::string> lines = lines_of(embed({"-p", "The river", "--jsonl"}).out);
  REQUIRE(lines.size() == 1);
  CHECK(json::parse(lines[0]) == entry);
}

TEST_CASE("each line is a text of its own, with the vector that it has alone") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "Line " + std::to_string(i * i) + " of the book.\n";
  const Outcome all = embed({"--lines", "--pooling", "mean"}, text + "\r\nThe last");
  REQUIRE(all.code == 0);
  const std::vector<std::string> lines = lines_of(all.out), texts = lines_of(text);
  REQUIRE(lines.size() == 302);
  for (const size_t at : {0, 1, 255, 256, 299})
    CHECK(lines[at] + "\n" == embed({"--pooling", "mean", "-p", texts[at]}).out);
  // An empty line is an empty text, so that lines of both sides belong together.
  CHECK(lines[300] + "\n" == embed({"--pooling", "mean", "-p", ""}).out);
  CHECK(lines[301] + "\n" == embed({"--pooling", "mean", "-p", "The last"}).out);

  const std::vector<std::string> objects = lines_of(embed({"--lines", "--jsonl"}, text).out);
  REQUIRE(objects.size() == 300);
  for (size_t i = 0; i < objects.size(); ++i) CHECK(json::parse(objects[i])["index"] == i);
  CHECK(lines_of(embed({"--lines", "--ids", "-"}, "5 6\n7\n").out).size() == 2);
}

TEST_CASE("--normalise makes norms of one") {
  const json object = run_json({"embed", kModel, "-p", "The river", "--normalise", "--json"});
  double squares = 0;
  for (const double x : object["embeddings"][0]["embedding"]) squares += x * x;
  CHECK(std::fabs(squares - 1) < 1e-5);
  CHECK(object["normalised"] == true);
}

TEST_CASE("wrong calls and wrong texts of embed") {
  check_usage_error({"embed", kModel}, "-p, -f or --ids");
  check_usage_error({"embed", kModel, "-p", "x", "--ids", "y"}, "exclude");
  check_usage_error({"embed", kModel, "-p", "x", "--pooling", "max"}, "last, mean");
  check_usage_error({"embed", kModel, "-p", "x", "--json", "--jsonl"}, "exclude");
  check_usage_error({"embed", kModel, "-p", "x", "-b", "0"}, "--batch-size");
  check_failure({"embed", kModel, "-f", "no/such/text"}, "no/such/text");
  check_failure({"embed", "no/such/model", "-p", "x"}, "no/such/model");
  Outcome outcome = embed({"--ids", "-", "--lines"}, "1 2\n3 x\n");
  CHECK(outcome.code == 1);
  CHECK(outcome.out.empty());
  CHECK_THAT(outcome.err, Catch::Contains("standard input, line 2: item 2 is 'x'"));
  outcome = embed({"--ids", "-", "--lines"}, "1\n\n2\n");
  CHECK(outcome.code == 1);
  CHECK_THAT(outcome.err, Catch::Contains("line 2 holds no token ids"));
  outcome = embed({"--lines"}, "");
  CHECK(outcome.code == 2);  // as nothing came through the pipe
  const Folder folder;
  write_text(folder / "empty", "");
  check_failure({"embed", kModel, "--lines", "-f", folder / "empty"}, "empty is empty");
  write_text(folder / "latin", "The river\nCaf\xe9\n");
  check_failure({"embed", kModel, "--lines", "-f", folder / "latin"}, "latin, line 2 is not UTF-8");
  // Bytes of a whole text that are no UTF-8 are read as U+FFFD.
  CHECK(embed({}, "\xff\xfe river \xc3").code == 0);
}
