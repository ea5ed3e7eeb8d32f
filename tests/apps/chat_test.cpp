// `klens chat` over a pipe. On a terminal only the line editing is added.
#include <catch2/catch.hpp>

#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

Outcome chat(const std::string& input, std::vector<std::string> options = {}) {
  Call call;
  call.arguments = std::vector<std::string>{"chat", kModel, "-n", "8", "--seed", "3"} + options;
  call.input = input;
  return run(call);
}

}  // namespace

TEST_CASE("every line is answered") {
  const Outcome outcome = chat("The river\nThe bridge\n");
  CHECK(outcome.code == 0);
  CHECK_FALSE(outcome.out.empty());
  CHECK(outcome.out == chat("The river\nThe bridge\n").out);

  const Outcome with_json = chat("The river\nThe bridge\n", {"--json", "--system", "A story."});
  REQUIRE(with_json.code == 0);
  const json messages = json::parse(with_json.out)["messages"];
  REQUIRE(messages.size() == 5);
  CHECK(messages[0]["role"] == "system");
  CHECK(messages[1] == json{{"role", "user"}, {"content", "The river"}});
  CHECK(messages[2]["role"] == "assistant");
  CHECK(messages[4]["role"] == "assistant");
}

TEST_CASE("a backslash continues a line, and the last line needs no end") {
  const json messages = json::parse(chat("The river\\\nThe bridge", {"--json"}).out)["messages"];
  REQUIRE(messages.size() == 2);
  CHECK(messages[0]["content"] == "The river\nThe bridge");
}

TEST_CASE("a turn extends the session: answers equal those of the text fed at once") {
  // This model has no chat template: turns are one running text, joined by a line break.
  const json first = json::parse(chat("The river\n", {"--json", "--greedy"}).out)["messages"];
  const std::string answer = first[1]["content"];
  const json both =
      json::parse(chat("The river\nThen the\n", {"--json", "--greedy"}).out)["messages"];
  CHECK(both[1]["content"] == answer);
  Call call;
  const std::string text = "The river" + answer + "\nThen the";
  const json r = run_json({"generate", kModel, "-p", text, "-n", "8", "--greedy", "--json"});
  CHECK(both[3]["content"] == r["continuation"]);
}

TEST_CASE("a reset chat is a new chat") {
  const json messages =
      json::parse(chat("The bridge\n/reset\nThe river\n", {"--json"}).out)["messages"];
  CHECK(messages == json::parse(chat("The river\n", {"--json"}).out)["messages"]);
}

TEST_CASE("a saved chat goes on as if it had never stopped") {
  const Folder folder;
  const std::string file = folder / "session";
  const Outcome saved = chat("The river\n/save " + file + "\nThe bridge\n", {"--json", "--greedy"});
  REQUIRE(saved.code == 0);
  CHECK(exists(file));
  CHECK(exists(file + ".json"));
  const Outcome loaded = chat("Noise\n/load " + file + "\nThe bridge\n", {"--json", "--greedy"});
  REQUIRE(loaded.code == 0);
  CHECK(json::parse(loaded.out) == json::parse(saved.out));
}

TEST_CASE("commands of the chat go to standard error") {
  const Outcome outcome = chat("/help\n/stats\n/nonsense\n/quit\nnever read\n");
  CHECK(outcome.code == 0);
  CHECK(outcome.out.empty());
  CHECK_THAT(outcome.err, Catch::Contains("/save FILE") && Catch::Contains("session") &&
                              Catch::Contains("there is no /nonsense"));
  CHECK(chat("").code == 0);
}

TEST_CASE("what cannot be saved or loaded ends a scripted chat") {
  const Folder folder;
  write_text(folder / "bad.json",
             "{\"klens_chat\": 1, \"messages\": [], \"ids\": [1, 99999], \"fed\": 1}");
  write_text(folder / "bad", "nothing");
  for (const std::string& line :
       {"/load " + (folder / "none"), "/load " + (folder / "bad"),
        std::string("/save /no/such/folder/x"), "/save " + (folder / "early")}) {
    INFO(line);
    const Outcome outcome =
        chat((line.find("no/such") != std::string::npos ? "The river\n" : "") + line + "\n");
    CHECK(outcome.code == 1);
    CHECK(is_one_error_line(outcome.err));
  }
}
