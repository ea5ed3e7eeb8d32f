// klens in front of a terminal: what is typed and pasted, progress, notices.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/apps/run_on_terminal.h"
#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

TerminalCall chat_call(std::vector<std::string> options = {}) {
  TerminalCall call;
  call.arguments =
      std::vector<std::string>{"chat", kModel, "-n", "2", "--greedy", "--json"} + options;
  return call;
}

// The contents of the user's messages.
std::vector<std::string> said(const std::string& out) {
  const json chat = json::parse(out);
  std::vector<std::string> texts;
  for (const json& message : chat["messages"])
    if (message["role"] == "user") texts.push_back(message["content"]);
  return texts;
}

std::vector<std::string> said(const TerminalOutcome& outcome) {
  INFO(outcome.screen);
  REQUIRE(outcome.code == 0);
  return said(outcome.out);
}

std::vector<std::string> said_after(const std::string& keys,
                                    std::vector<std::pair<std::string, std::string>> environment) {
  TerminalCall call = chat_call();
  call.typed = {{"> ", keys + "\r"}, {"cut short", ""}, {"> ", "/quit\r"}};
  call.environment = std::move(environment);
  return said(run_on_terminal(call));
}

// What was shown in the rewritten line, as it stood each time.
std::vector<std::string> status_lines(const std::string& screen) {
  const std::string mark = "\r\033[K";
  std::vector<std::string> lines;
  for (size_t at = screen.find(mark); at != std::string::npos;) {
    const size_t begin = at + mark.size();
    at = screen.find(mark, begin);
    const std::string line = screen.substr(begin, at == std::string::npos ? at : at - begin);
    if (at != std::string::npos && !line.empty()) lines.push_back(line);
  }
  return lines;
}

bool any_starts_with(const std::vector<std::string>& lines, const std::string& word) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.starts_with(word); });
}

// Token ids, enough of them to keep the demo model busy for a while.
std::string many_ids(int count) {
  std::string ids;
  for (int i = 0; i < count; ++i) ids += std::to_string((i * 37) % 4096) + " ";
  return ids;
}

// The Llama golden, trained on 256 tokens, with a tokenizer that knows ASCII.
struct SmallLlama {
  SmallLlama() {
    const std::string golden = std::string(KLENS_TEST_DATA) + "/goldens/llama/";
    for (const char* name : {"config.json", "model.safetensors"})
      std::filesystem::create_symlink(golden + name, folder / name);
    json vocab;
    for (int c = '!'; c <= '~'; ++c) vocab[std::string(1, static_cast<char>(c))] = c - '!';
    vocab["\u0120"] = 94;  // a space, a line's end
    vocab["\u010a"] = 95;
    for (int id = 96; id < 160; ++id) vocab["<" + std::to_string(id) + ">"] = id;
    const json tokenizer = {
        {"version", "1.0"},
        {"added_tokens", json::array()},
        {"normalizer", nullptr},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
        {"post_processor", nullptr},
        {"decoder", {{"type", "ByteLevel"}}},
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
    write_text(folder / "tokenizer.json", tokenizer.dump());
  }
  Outcome run_on(const std::string& command, const std::vector<std::string>& options) const {
    return run(std::vector<std::string>{command, folder / ""} + options);
  }
  Folder folder;
};

}  // namespace

TEST_CASE("typed text is UTF-8 without a locale", "[terminal]") {
  const std::string text = "h\u00e9llo w\u00f6rld \u65e5\u672c \U0001f600";
  using Environment = std::vector<std::pair<std::string, std::string>>;
  // LOCPATH: a system that has no locale but "C", as small containers.
  for (const Environment& environment :
       {Environment{}, Environment{{"LC_ALL", "C"}}, Environment{{"LANG", "POSIX"}},
        Environment{{"LC_ALL", "C.UTF-8"}}, Environment{{"LOCPATH", "/nonexistent"}}}) {
    CAPTURE(environment.empty() ? "" : environment[0].first + "=" + environment[0].second);
    CHECK(said_after(text, environment) == std::vector<std::string>{text});
  }
  // What is deleted is a character, not a byte; what is no UTF-8 is U+FFFD.
  CHECK(said_after("\u65e5\u672c\177x", {}) == std::vector<std::string>{"\u65e5x"});
  CHECK(said_after("caf\xe9 \xff!", {}) == std::vector<std::string>{"caf\ufffd \ufffd!"});
}

TEST_CASE("typing works where nothing can be shown", "[terminal]") {
  TerminalCall call = chat_call();
  call.errors_on_screen = false;
  call.typed = {{"", "na\u00efve\n\004"}};
  CHECK(said(run_on_terminal(call)) == std::vector<std::string>{"na\u00efve"});
  // And on a terminal without escape sequences, which are then not sent.
  TerminalCall dumb = chat_call();
  dumb.environment = {{"TERM", "dumb"}};
  dumb.typed = {{"> ", "na\u00efve\r"}, {"cut short", ""}, {"> ", "\004"}};
  const TerminalOutcome outcome = run_on_terminal(dumb);
  CHECK(said(outcome) == std::vector<std::string>{"na\u00efve"});
  CHECK(outcome.screen.find('\033') == std::string::npos);
}

TEST_CASE("a paste is one message", "[terminal]") {
  const auto messages = [](const std::string& keys) { return said_after(keys, {}); };
  CHECK(messages(pasted("one\rtwo\r\rthree \u65e5\u672c")) ==
        std::vector<std::string>{"one\ntwo\n\nthree \u65e5\u672c"});
  // Between what is typed, its last line end dropped; several of them; paths, which are no command.
  CHECK(messages("say " + pasted("a\rb\nc\r")) == std::vector<std::string>{"say a\nb\nc"});
  CHECK(messages(pasted("a\rb") + " and " + pasted("c\\\rd") + "\\\re") ==
        std::vector<std::string>{"a\nb and c\\\nd\ne"});
  CHECK(messages(pasted("/usr/bin\r/usr/lib")) == std::vector<std::string>{"/usr/bin\n/usr/lib"});
  // More lines than the screen has, and longer than the editor's first buffer.
  std::string keys, text;
  for (int i = 0; i < 300; ++i) {
    keys += "line " + std::to_string(i) + (i < 299 ? "\r" : "");
    text += "line " + std::to_string(i) + (i < 299 ? "\n" : "");
  }
  CHECK(messages(pasted(keys)) == std::vector<std::string>{text});
  // The terminal is asked to mark pastes, and no longer once the chat has ended.
  TerminalCall call = chat_call();
  call.typed = {{"> ", "/quit\r"}};
  const std::string screen = run_on_terminal(call).screen;
  const size_t on = screen.find("\033[?2004h"), off = screen.find("\033[?2004l");
  CHECK(on < screen.find("> "));
  CHECK(off != std::string::npos);
}

TEST_CASE("Ctrl-C drops what is typed, also in the middle of a paste", "[terminal]") {
  for (const std::string& dropped : {std::string("dropped"), std::string("\033[200~dropped\r")}) {
    TerminalCall call = chat_call();
    call.typed = {{"> ", dropped + "\003"},
                  {"leaves", ""},
                  {"> ", "kept\r"},
                  {"cut short", ""},
                  {"> ", "/quit\r"}};
    CHECK(said(run_on_terminal(call)) == std::vector<std::string>{"kept"});
  }
}

TEST_CASE("a second Ctrl-C ends an answer, and leaves the terminal as it was", "[terminal]") {
  // One long call of the library: nothing but the second can end it.
  std::string system;
  for (int i = 0; i < 12000; ++i) system += " river";
  TerminalCall call = chat_call({"--system", system, "-b", "100000", "-t", "1"});
  call.typed = {{"> ", "The\r"}, {"reading the prompt", "\003"}, {"reading the prompt", "\003"}};
  const TerminalOutcome outcome = run_on_terminal(call);
  CHECK(outcome.code == -1);
  const size_t on = outcome.screen.rfind("\033[?2004h"), off = outcome.screen.rfind("\033[?2004l");
  REQUIRE(off != std::string::npos);
  CHECK(on < off);
}

TEST_CASE("a command that fails does not end a chat, nor its exit code", "[terminal]") {
  TerminalCall call = chat_call();
  call.typed = {{"> ", "/load nothere\r"},
                {"klens: cannot read nothere.json", ""},
                {"> ", "The river\r"},
                {"cut short", ""},
                {"> ", "/quit\r"}};
  CHECK(said(run_on_terminal(call)) == std::vector<std::string>{"The river"});
}

TEST_CASE("messages may begin with a slash; ~ is the home folder", "[terminal]") {
  const Folder home;
  Call call;
  call.arguments = {"chat", kModel, "-n", "2", "--json", "--greedy"};
  call.environment = {{"HOME", home / ""}};
  call.input = "//usr/bin is a folder\n /etc too\n///\n/save ~/kept \n/nonsense\n";
  const Outcome outcome = run(call);
  REQUIRE(outcome.code == 0);
  CHECK(said(outcome.out) == std::vector<std::string>{"/usr/bin is a folder", " /etc too", "//"});
  CHECK(exists(home / "kept"));
  CHECK(exists(home / "kept.json"));
  CHECK_THAT(outcome.err, Catch::Contains("//"));

  call.input = "/load ~/kept\nmore\n";
  const Outcome loaded = run(call);
  REQUIRE(loaded.code == 0);
  CHECK(json::parse(loaded.out)["messages"].size() == 8);
  call.input = "/save ~no-such-user/kept\n";
  CHECK(run(call).code == 1);
}

TEST_CASE("an answer that was cut short is told", "[terminal]") {
  Call call;
  call.arguments = {"chat", kModel, "-n", "3", "--greedy"};
  call.input = "The river\n";
  CHECK_THAT(run(call).err, Catch::Contains("cut short by -n 3"));
  call.arguments = {"chat", kModel, "--ctx", "6", "--greedy", "--ignore-eos"};
  CHECK_THAT(run(call).err, Catch::Contains("cut short by --ctx 6"));
  call.arguments.push_back("-q");
  CHECK(run(call).err.empty());
  CHECK_THAT(run({"generate", kModel, "-p", "The river", "-n", "3", "--greedy"}).err,
             Catch::Contains("limit: -n 3"));
  CHECK_THAT(run({"generate", kModel, "-p", "The river", "-c", "6", "--greedy"}).err,
             Catch::Contains("limit: --ctx 6"));
}

TEST_CASE("more tokens than a model was trained on are told", "[terminal]") {
  const SmallLlama model;
  const std::string notice = "the model was trained on 256 at most";
  write_text(model.folder / "long", std::string(300, 'x'));
  write_text(model.folder / "short", std::string(200, 'x'));
  const auto told = [&](const std::string& command, const std::vector<std::string>& options) {
    const Outcome outcome = model.run_on(command, options);
    INFO(command << Catch::Detail::stringify(options) << outcome.err);
    CHECK(outcome.code == 0);
    return outcome.err.find(notice) != std::string::npos;
  };
  const std::string long_text = model.folder / "long", short_text = model.folder / "short";
  CHECK(told("generate", {"-f", long_text, "-n", "1"}));
  CHECK(told("generate", {"-f", short_text, "-n", "60", "--ignore-eos"}));
  CHECK_FALSE(told("generate", {"-f", short_text, "-n", "1"}));
  CHECK_FALSE(told("generate", {"-f", long_text, "-n", "1", "-q"}));
  CHECK(told("perplexity", {"-f", long_text, "-c", "300"}));
  CHECK_FALSE(told("perplexity", {"-f", long_text, "-c", "200"}));
  CHECK(told("compare", {model.folder / "", "-f", long_text, "-c", "300"}));
  CHECK(told("bench", {"-p", "300", "-n", "0", "-r", "1"}));
  CHECK_FALSE(told("bench", {"-p", "16", "-n", "8", "-r", "1"}));
  // A chat is told once, and again when it began anew.
  Call call;
  call.arguments = {"chat", model.folder / "", "-n", "1"};
  const std::string line = std::string(150, 'x') + "\n";
  call.input = line + line + line + "/reset\n" + line + line;
  const std::string err = run(call).err;
  size_t count = 0;
  for (size_t at = err.find(notice); at != std::string::npos; at = err.find(notice, at + 1))
    ++count;
  CHECK(count == 2);
  // State spaces have no such limit.
  CHECK_THAT(run({"generate", kModel, "-f", long_text, "-n", "1"}).err,
             !Catch::Contains("was trained on"));
}

TEST_CASE("progress stays on one line of a narrow terminal", "[terminal]") {
  for (const unsigned short columns : {20, 34, 60}) {
    TerminalCall call;
    call.arguments = {"perplexity", kModel, "-f", kSample, "-c", "64", "-t", "1", "--stride", "8"};
    call.columns = columns;
    const TerminalOutcome outcome = run_on_terminal(call);
    INFO(outcome.screen);
    REQUIRE(outcome.code == 0);
    const std::vector<std::string> lines = status_lines(outcome.screen);
    CHECK(any_starts_with(lines, "perplexity"));
    for (const std::string& line : lines) {
      CHECK(line.size() < columns);
      CHECK(line.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("nothing is silent for a second", "[terminal][long]") {
  const Folder folder;
  write_text(folder / "ids", many_ids(12000));
  // One call of the library: only the program itself can tell that it goes on.
  TerminalCall call;
  call.arguments = {"generate", kModel, "--ids", folder / "ids",       "-b", "100000", "-t",
                    "1",        "-n",   "1",     "--no-display-prompt"};
  const TerminalOutcome generated = run_on_terminal(call);
  REQUIRE(generated.code == 0);
  CHECK(any_starts_with(status_lines(generated.screen), "reading the prompt"));
  CHECK(generated.silence < std::chrono::milliseconds(1000));

  // An answer that goes elsewhere.
  call.arguments = {"generate", kModel, "-p", "The river", "-n", "2000", "--ignore-eos", "--json"};
  const TerminalOutcome written = run_on_terminal(call);
  REQUIRE(written.code == 0);
  CHECK(any_starts_with(status_lines(written.screen), "generating"));
}

TEST_CASE("the last message is edited in its line, line breaks and all", "[terminal]") {
  TerminalCall call = chat_call();
  call.typed = {{"> ", "say " + pasted("a\rb") + "\r"},
                {"cut short", ""},
                {"> ", "/edit\r"},
                {"say a", " and c\r"},
                {"cut short", ""},
                {"> ", "/edit other\r"},
                {"cut short", ""},
                {"> ", "/edit\r"},
                {"other", "\003"},
                {"> ", "/quit\r"}};
  CHECK(said(run_on_terminal(call)) == std::vector<std::string>{"other"});
  call.typed.resize(5);
  call.typed.push_back({"> ", "/quit\r"});
  CHECK(said(run_on_terminal(call)) == std::vector<std::string>{"say a\nb and c"});
}

TEST_CASE("notices are faint on a terminal that shows it, and nowhere else", "[terminal]") {
  const auto screen = [](std::vector<std::pair<std::string, std::string>> environment) {
    TerminalCall call = chat_call();
    call.typed = {{"> ", "/reset\r"}, {"starts anew", ""}, {"> ", "/quit\r"}};
    call.environment = std::move(environment);
    return run_on_terminal(call).screen;
  };
  const std::string faint = "\033[2mthe conversation starts anew\033[0m";
  CHECK_THAT(screen({}), Catch::Contains(faint));
  CHECK_THAT(screen({{"NO_COLOR", "1"}}),
             !Catch::Contains("\033[2m") && Catch::Contains("the conversation starts anew"));
}
