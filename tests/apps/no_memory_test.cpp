// Where memory runs out, klens says so in one line: every command under every limit on memory.
#include <catch2/catch.hpp>
#include <functional>

#include "tests/apps/run_program.h"
#include "tests/testing.h"

using namespace klens::testing;

namespace {

using Arguments = std::vector<std::string>;

Outcome run_within(int64_t bytes, const Arguments& arguments, const std::string& input = "") {
  Call call;
  call.arguments = arguments;
  call.input = input;
  call.address_space = bytes;
  return run(call);
}

// The least of [low, high] for which `enough` is true, to a hundredth.
int64_t least(int64_t low, int64_t high, const std::function<bool(int64_t)>& enough) {
  REQUIRE(enough(high));
  while (high - low > high / 100) {
    const int64_t middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

// What the system needs to load the program and its libraries: below, it ends before klens begins,
// with a message of the loader's or none.
int64_t loaded() {
  static const int64_t bytes = least(0, int64_t{1} << 30, [](int64_t limit) {
    return run_within(limit, {"--version"}).code == 0;
  });
  return bytes;
}

// Of memory that klens asks for before all else: its stack's pages, and what can be thrown.
constexpr int64_t kFirstBytes = int64_t{640} << 10;

// In steps of 2 % of what lies between, from where klens begins to where it has enough, and a
// little beyond: memory is not used the same way each time.
void sweep(const Arguments& arguments, const std::string& input = "") {
  const int64_t begin = loaded();
  const int64_t enough = least(begin, int64_t{4} << 30, [&](int64_t limit) {
    return run_within(limit, arguments, input).code == 0;
  });
  int failed = 0;
  for (int percent = 0; percent <= 104; percent += 2) {
    const int64_t limit = begin + (enough - begin) * percent / 100;
    const Outcome outcome = run_within(limit, arguments, input);
    INFO("klens " << Catch::Detail::stringify(arguments) << " within " << limit << " bytes, "
                  << percent << " %: code " << outcome.code << ", signal " << outcome.signal << "\n"
                  << outcome.err);
    CHECK(outcome.signal == 0);
    if (outcome.code == 0) continue;
    CHECK(outcome.code == 1);
    // Notices may come before it.
    const size_t last = outcome.err.rfind('\n', outcome.err.size() - 2);
    CHECK(is_one_error_line(outcome.err.substr(last == std::string::npos ? 0 : last + 1)));
    ++failed;
  }
  CHECK(failed > 0);
}

}  // namespace

TEST_CASE("before a command begins, a lack of memory is one line", "[slow]") {
  for (int64_t limit = loaded() * 95 / 100; limit < loaded(); limit += 1 << 14) {
    const Outcome outcome = run_within(limit, {"--version"});
    CAPTURE(limit, outcome.err, outcome.signal);
    if (outcome.code == 127) continue;  // the system's loader
    // Libraries that httplib brings allocate while they are loaded, and end a process without
    // memory for that, before klens begins.
    if (outcome.signal != 0 && outcome.err.find("klens: ") == std::string::npos &&
        limit < loaded() - kFirstBytes)
      continue;
    CHECK(outcome.signal == 0);
    CHECK((outcome.code == 0 || is_one_error_line(outcome.err)));
  }
}

TEST_CASE("a lack of memory is one line, wherever it comes", "[slow]") {
  const Folder folder;
  const std::string threads = GENERATE("1", "2");
  write_text(folder / "ids", "1 2 3");
  SECTION("inspect") { sweep({"inspect", kModel}); }
  SECTION("tokenize") { sweep({"tokenize", kModel, "-f", kSample}); }
  SECTION("generate") { sweep({"generate", kModel, "-p", "The river", "-n", "4", "-t", threads}); }
  SECTION("chat") {
    sweep({"chat", kModel, "-n", "4", "-t", threads}, "The river\n/save " + (folder / "s") +
                                                          "\nThe bridge\n/load " + (folder / "s") +
                                                          "\nThe town\n");
  }
  SECTION("perplexity") {
    sweep({"perplexity", kModel, "-f", kSample, "--windows", "2", "-c", "64", "-t", threads});
  }
  SECTION("profile") {
    sweep({"profile", kModel, "-o", folder / "p", "--windows", "1", "-c", "32", "--formats", "int8",
           "-t", threads});
  }
  SECTION("quantize") {
    sweep({"quantize", kModel, "-o", folder / "q", "--uniform", "int4g64", "--windows", "1", "-c",
           "32", "-t", threads});
  }
  SECTION("a GGUF") {
    sweep({"generate", data_path("gguf/llama.gguf"), "--ids", folder / "ids", "-n", "2", "-t",
           threads});
  }
}
