// `klens chat` over a pipe. On a terminal only the line editing is added.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

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

// The demo model with a chat template that writes past turns otherwise than they were generated,
// as those do that trim answers or leave out thoughts.
struct Rewriting {
  explicit Rewriting(const std::string& chat_template =
                         "{% for m in messages %}{{ m.role + ': ' + m.content | trim | upper + "
                         "'\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}") {
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
      std::filesystem::create_symlink(kModel + "/" + name, folder / name);
    write_text(folder / "chat_template.jinja", chat_template);
  }
  std::string prompt(const json& messages, size_t count) const {
    std::string text;
    for (size_t i = 0; i < count; ++i) {
      std::string content = messages[i]["content"];
      content.erase(0, content.find_first_not_of(" \n"));
      content.erase(content.find_last_not_of(" \n") + 1);
      for (char& c : content) c = 'a' <= c && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      text += messages[i]["role"].get<std::string>() + ": " + content + "\n";
    }
    return text + "assistant:";
  }
  Outcome chat(const std::string& input, const std::vector<std::string>& options) const {
    Call call;
    call.arguments = std::vector<std::string>{"chat", folder / "", "-n", "8"} + options;
    call.input = input;
    return run(call);
  }
  Folder folder;
};

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

TEST_CASE("a chat goes back to the end of the last prompt, and answers as if fed at once") {
  const Rewriting model;
  const Outcome outcome =
      model.chat("The river\n/stats\nThe bridge\n/stats\nThe town\n/stats\nThe sea\n/stats\n",
                 {"--json", "--greedy"});
  REQUIRE(outcome.code == 0);
  const json messages = json::parse(outcome.out)["messages"];
  REQUIRE(messages.size() == 8);
  size_t read = 0, stats = 0;
  for (size_t turn = 0; turn < 4; ++turn) {
    const std::string prompt = model.prompt(messages, 2 * turn + 1);
    CAPTURE(prompt);
    const json alone =
        run_json({"generate", model.folder / "", "-p", prompt, "-n", "8", "--greedy", "--json"});
    CHECK(messages[2 * turn + 1]["content"] == alone["continuation"]);
    // Only what follows the last prompt is read.
    const size_t tokens = alone["prompt_tokens"];
    stats = outcome.err.find("prompt " + std::to_string(tokens - read) + " tokens", stats);
    REQUIRE(stats != std::string::npos);
    stats += 1;
    read = tokens;
  }
}

// As templates of reasoning models do: an answer is to begin with a thought, which is gone when the
// next question comes. So the end of a prompt is no place to go on from.
TEST_CASE("a chat whose template drops thoughts reads one turn at a time, also when loaded") {
  const Rewriting model(
      "{% for m in messages %}{{ m.role + ': ' + (m.content if m.role == 'user' else 'Yes.') + "
      "'\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: <think>\n' }}{% endif %}");
  const auto ids = [&](const std::string& text) {
    return run_json({"tokenize", model.folder / "", "--json", "-p", text})["ids"]
        .get<std::vector<int>>();
  };
  const std::vector<std::string> questions = {"The river", "The bridge", "The town", "The sea"};
  std::vector<size_t> read;
  std::string told;
  size_t settled = 0;
  for (const std::string& question : questions) {
    told += "user: " + question + "\n";
    const std::vector<int> prompt = ids(told + "assistant: <think>\n"), before = ids(told);
    read.push_back(prompt.size() - settled);
    settled = static_cast<size_t>(
        std::mismatch(before.begin(), before.end(), prompt.begin(), prompt.end()).first -
        before.begin());
    told += "assistant: Yes.\n";
  }
  REQUIRE(read[3] < read[0] + 20);
  const auto check = [&](const Outcome& outcome, size_t first) {
    REQUIRE(outcome.code == 0);
    size_t at = 0;
    for (size_t turn = first; turn < 4; ++turn) {
      CAPTURE(turn, outcome.err);
      at = outcome.err.find("prompt " + std::to_string(read[turn]) + " tokens", at);
      REQUIRE(at != std::string::npos);
      ++at;
    }
  };
  const Folder folder;
  const std::string file = folder / "session";
  check(model.chat("The river\n/stats\nThe bridge\n/stats\n/save " + file +
                       "\nThe town\n/stats\nThe sea\n/stats\n",
                   {"--greedy"}),
        0);
  check(model.chat("/load " + file + "\nThe town\n/stats\nThe sea\n/stats\n", {"--greedy"}), 2);
  // Without memory for them all is read again.
  const Outcome outcome =
      model.chat("The river\nThe bridge\n/stats\n", {"--greedy", "--checkpoint-memory", "0"});
  CHECK_THAT(
      outcome.err,
      Catch::Contains(
          "prompt " +
          std::to_string(ids("user: The river\nassistant: Yes.\nuser: The bridge\nassistant: "
                             "<think>\n")
                             .size()) +
          " tokens"));
}

TEST_CASE("a chat that goes back is a function of the seed, also when saved and loaded") {
  const Rewriting model;
  const auto talk = [&](const std::string& input, const std::vector<std::string>& options) {
    const Outcome outcome = model.chat(input, std::vector<std::string>{"--json"} + options);
    REQUIRE(outcome.code == 0);
    return json::parse(outcome.out)["messages"];
  };
  const std::string turns = "The river\nThe bridge\nThe town\n";
  const json told = talk(turns, {"--seed", "3"});
  CHECK(told == talk("Noise\n/reset\n" + turns, {"--seed", "3"}));
  CHECK(told != talk(turns, {"--seed", "4"}));
  const Folder folder;
  const std::string file = folder / "session";
  const json saved = talk("The river\n/save " + file + "\nThe bridge\nThe town\n", {"--greedy"});
  CHECK(saved == talk("/load " + file + "\nThe bridge\nThe town\n", {"--greedy"}));
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

TEST_CASE("-n 0 reads and answers nothing, in a chat as in generate") {
  CHECK(run({"generate", kModel, "-p", "The river", "-n", "0"}).out == "The river\n");
  const Outcome outcome = chat("The river\n/stats\n", {"-n", "0", "--json"});
  REQUIRE(outcome.code == 0);
  const json messages = json::parse(outcome.out)["messages"];
  REQUIRE(messages.size() == 2);
  CHECK(messages[1]["content"] == "");
  const json read = run_json({"generate", kModel, "-p", "The river", "-n", "0", "--json"});
  CHECK_THAT(outcome.err, Catch::Contains("prompt " + read["prompt_tokens"].dump() + " tokens") &&
                              !Catch::Contains("cut short"));
  CHECK(chat("The river\n", {"-n", "0", "--ctx", "1"}).code == 1);
}

TEST_CASE("what cannot be saved or loaded fails a scripted chat, which goes on") {
  const Folder folder;
  write_text(folder / "bad.json",
             "{\"klens_chat\": 1, \"messages\": [], \"ids\": [1, 99999], \"fed\": 1}");
  write_text(folder / "bad", "nothing");
  for (const std::string& line :
       {"/load " + (folder / "none"), "/load " + (folder / "bad"),
        std::string("/save /no/such/folder/x"), "/save " + (folder / "early")}) {
    INFO(line);
    const Outcome outcome = chat(
        (line.find("no/such") != std::string::npos ? "The river\n" : "") + line + "\nThe bridge\n",
        {"-q", "--json"});
    CHECK(outcome.code == 1);
    CHECK_THAT(outcome.err, Catch::StartsWith("klens: ") && Catch::Contains("\nklens: error: "));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 2);
    const json messages = json::parse(outcome.out)["messages"];
    CHECK(messages[messages.size() - 2]["content"] == "The bridge");
  }
}

TEST_CASE("a turn can be regenerated and edited, as if the first had not been") {
  const bool has_template = GENERATE(false, true);
  CAPTURE(has_template);
  const Rewriting model;
  const auto talk = [&](const std::string& input, const std::vector<std::string>& options) {
    const Outcome outcome = has_template
                                ? model.chat(input, std::vector<std::string>{"--json"} + options)
                                : chat(input, std::vector<std::string>{"--json"} + options);
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    return json::parse(outcome.out)["messages"];
  };
  const std::vector<std::string> greedy = {"--greedy"};
  const json plain = talk("The river\nThe bridge\nThe town\n", greedy);
  REQUIRE(plain.size() == 6);
  CHECK(talk("The river\nThe bridge\n/regenerate\n/regenerate\nThe town\n", greedy) == plain);
  CHECK(talk("The river\nThe sea\n/edit The bridge\nThe town\n", greedy) == plain);
  CHECK(talk("The sea\n/edit The river\nThe bridge\n/regenerate\nThe town\n", greedy) == plain);
  // By chance it is another answer, the same for the same seed.
  const std::vector<std::string> hot = {"--temp", "1.5", "--seed", "5", "-n", "12"};
  const json first = talk("The river\n", hot), again = talk("The river\n/regenerate\n", hot);
  CHECK(again.size() == 2);
  CHECK(again[1] != first[1]);
  CHECK(again == talk("The river\n/regenerate\n", hot));
  // Saved in between.
  const Folder folder;
  const std::string file = folder / "session";
  talk("The river\nThe bridge\n/save " + file + "\n", greedy);
  CHECK(talk("/load " + file + "\n/regenerate\nThe town\n", greedy) == plain);
  CHECK(talk("/load " + file + "\n/edit The bridge\nThe town\n", greedy) == plain);
}

TEST_CASE("an answer is asked for again without reading the prompt again") {
  const Outcome outcome = chat("The river\nThe bridge\n/regenerate\n/stats\n", {"--greedy"});
  REQUIRE(outcome.code == 0);
  CHECK_THAT(outcome.err, Catch::Contains("prompt 0 tokens"));
}

TEST_CASE("there is nothing to regenerate or edit before the first answer") {
  for (const char* line : {"/regenerate", "/edit The bridge"}) {
    const Outcome outcome = chat(std::string(line) + "\nThe river\n", {"--json", "-q"});
    CHECK(outcome.code == 1);
    CHECK_THAT(outcome.err, Catch::Contains("no answered message"));
    CHECK(json::parse(outcome.out)["messages"].size() == 2);
  }
  CHECK_THAT(chat("The river\n/edit\n").err, Catch::Contains("needs the new text"));
  // One that cannot be answered leaves the chat as it was.
  const Rewriting model;
  const Outcome outcome = model.chat("The river\n/edit" +
                                         [] {
                                           std::string words;
                                           for (int i = 0; i < 60; ++i) words += " river";
                                           return words;
                                         }() +
                                         "\n/history\n",
                                     {"--ctx", "40", "--greedy"});
  CHECK(outcome.code == 1);
  CHECK_THAT(outcome.err, Catch::Contains("more than --ctx") && Catch::Contains("user: The river"));
}

TEST_CASE("the system message can be changed, and history shown") {
  const Rewriting model;
  const auto talk = [&](const std::string& input, const std::vector<std::string>& options) {
    const Outcome outcome =
        model.chat(input, std::vector<std::string>{"--json", "--greedy"} + options);
    REQUIRE(outcome.code == 0);
    return json::parse(outcome.out)["messages"];
  };
  const json given = talk("The river\n", {"--system", "A story."});
  CHECK(given[0] == json{{"role", "system"}, {"content", "A story."}});
  CHECK(talk("/system A story.\nThe river\n", {}) == given);
  CHECK(talk("/system A poem.\n/system   A story. \nThe river\n", {}) == given);
  CHECK(talk("/system\nThe river\n", {"--system", "A story."}) == talk("The river\n", {}));
  // In the middle it is read with all that was said.
  const json changed = talk("The river\n/system A story.\nThe bridge\n", {});
  REQUIRE(changed.size() == 5);
  json prompt = changed;
  CHECK(changed[4]["content"] ==
        run_json({"generate", model.folder / "", "-p", model.prompt(prompt, 4), "-n", "8",
                  "--greedy", "--json"})["continuation"]);

  CHECK_THAT(chat("The river\n/history\n", {"--system", "A story."}).err,
             Catch::Contains("system: A story.\nuser: The river\nassistant: "));
  CHECK_THAT(chat("/history\n").err, Catch::Contains("nothing was said yet"));
  // A running text has begun already.
  CHECK(chat("The river\n/system A story.\n").code == 1);
}

TEST_CASE("a template of the user's own takes the place of the model's") {
  const Folder folder;
  const std::string file = folder / "template.jinja";
  write_text(file, "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}");
  const json messages = json::parse(
      chat("The river\n", {"--json", "--greedy", "--chat-template", file}).out)["messages"];
  CHECK(messages[1]["content"] == run_json({"generate", kModel, "-p", "[user] The river\n", "-n",
                                            "8", "--greedy", "--json"})["continuation"]);
  write_text(file, "{% for m in messages %}");
  check_failure({"chat", kModel, "--chat-template", file}, "the given chat template");
  write_text(file, "");
  check_failure({"chat", kModel, "--chat-template", file}, "is empty");
  check_failure({"chat", kModel, "--chat-template", folder / "none"}, folder / "none");
}

TEST_CASE("an answer ends before a stop string, and so does what follows it") {
  const std::string answer = json::parse(
      chat("The river\n", {"--json", "--greedy", "-n", "30"}).out)["messages"][1]["content"];
  const std::string word = answer.substr(answer.find(' ', 8), 4);
  const json messages = json::parse(
      chat("The river\n", {"--json", "--greedy", "-n", "30", "--stop", word}).out)["messages"];
  CHECK(messages[1]["content"] == answer.substr(0, answer.find(word)));
  CHECK(chat("The river\n", {"--greedy", "-n", "30", "--stop", word}).out ==
        answer.substr(0, answer.find(word)) + "\n");
}

TEST_CASE("-p says one thing, and a chat that was kept goes on at once") {
  const Folder folder;
  const std::string file = folder / "talk";
  const auto ask = [&](const std::vector<std::string>& options, const std::string& input = "") {
    Call call;
    call.arguments = std::vector<std::string>{"chat", kModel, "-n", "8", "--greedy"} + options;
    call.input = input;
    return run(call);
  };
  const json all =
      json::parse(chat("The river\nThe bridge\n", {"--json", "--greedy"}).out)["messages"];
  Outcome outcome = ask({"-p", "The river", "--save", file}, "never read\n");
  REQUIRE(outcome.code == 0);
  CHECK(outcome.out == all[1]["content"].get<std::string>() + "\n");
  outcome = ask({"--load", file, "-p", "-", "--json"}, "The bridge");
  REQUIRE(outcome.code == 0);
  CHECK(json::parse(outcome.out)["messages"] == all);
  // Only what is new is read.
  outcome = ask({"--load", file, "--save", file}, "The bridge\n/stats\n");
  REQUIRE(outcome.code == 0);
  const json tokens = run_json({"tokenize", kModel, "-p", "\nThe bridge", "--json"})["ids"];
  CHECK_THAT(outcome.err,
             Catch::Contains("prompt " + std::to_string(tokens.size() + 1) + " tokens"));
  CHECK(json::parse(ask({"--load", file, "--json"}).out)["messages"] == all);
  CHECK(outcome.err.find('\033') == std::string::npos);

  CHECK(ask({"--load", folder / "none", "-p", "x"}).code == 1);
  CHECK(ask({"--save", "/no/such/folder/x", "-p", "x"}).code == 1);
  CHECK(ask({"-p", "x", "--ctx", "1"}).code == 1);
}
