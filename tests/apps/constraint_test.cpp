// Answers that keep to a language, and drafts, as a user asks for them.
#include <catch2/catch.hpp>

#include "tests/apps/run_program.h"
#include "tests/skipped.h"

namespace klens::testing {
namespace {

const std::vector<std::pair<const char*, const char*>> kSchemas = {
    {"person",
     R"({"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":10},)"
     R"("born":{"type":"string","format":"date"},"age":{"type":"integer","minimum":1,"maximum":99},)"
     R"("mail":{"type":"string","format":"email"},"height":{"type":"number","exclusiveMinimum":0.5,"maximum":2.5}},)"
     R"("required":["name","age"],"additionalProperties":false})"},
    {"list",
     R"({"type":"array","items":{"anyOf":[{"type":"integer","multipleOf":3,"minimum":-30,"maximum":30},)"
     R"({"type":"string","pattern":"^[a-c]{2,4}$"},{"type":"boolean"}]},"minItems":2,"maxItems":5})"},
    {"tree",
     R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"v":{"enum":["x","y",1]},)"
     R"("kids":{"type":"array","items":{"$ref":"#/$defs/node"},"maxItems":2}},"required":["v"],"additionalProperties":false}}})"},
    {"merged",
     R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":0}}},)"
     R"({"properties":{"a":{"maximum":50},"b":{"type":["null","string"],"maxLength":5}},"required":["a"]}],)"
     R"("maxProperties":2})"}};

std::vector<std::string> generate(std::vector<std::string> more) {
  std::vector<std::string> all = {"generate", kModel, "-p", "The river",
                                  "-n",       "200",  "-q", "--no-display-prompt"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("generate keeps to a schema, a grammar and to objects", "[constraint]") {
  const Folder folder;
  write_text(folder / "list.json", kSchemas[1].second);
  write_text(folder / "answer.gbnf", "root ::= (\"yes\" | \"no\") \"!\"?");
  for (const char* seed : {"0", "1", "2", "3"}) {
    const Outcome list = run(generate({"--json-schema", folder / "list.json", "--seed", seed}));
    INFO(list.out << list.err);
    REQUIRE(list.code == 0);
    const auto value = nlohmann::json::parse(list.out);
    CHECK((value.is_array() && value.size() >= 2 && value.size() <= 5));
    const Outcome answer = run(generate({"--grammar", folder / "answer.gbnf", "--seed", seed}));
    CHECK((answer.out.starts_with("yes") || answer.out.starts_with("no")));
    CHECK(answer.out.size() <= 5);
  }
  const Outcome object = run(generate({"--json-object", "--greedy"}));
  CHECK(object.out.starts_with("{"));
  // Each answer of a chat.
  Call chat{.arguments = {"chat", kModel, "-q", "-n", "60", "--grammar", folder / "answer.gbnf"}};
  chat.input = "Is it?\nIs it not?\n";
  const Outcome said = run(chat);
  INFO(said.out << said.err);
  CHECK(said.code == 0);
  CHECK(said.out.find("!") <= 4);
}

TEST_CASE("what cannot be kept to is refused by file and place", "[constraint]") {
  const Folder folder;
  write_text(folder / "bad.json", R"({"properties":{"a":{"uniqueItems":true}}})");
  write_text(folder / "never.json", R"({"type":"integer","minimum":3,"maximum":2})");
  write_text(folder / "bad.gbnf", "root ::= \"a\n");
  check_failure(generate({"--json-schema", folder / "bad.json"}),
                "bad.json: /properties/a/uniqueItems: cannot be enforced");
  check_failure(generate({"--json-schema", folder / "never.json"}), "no finite value");
  check_failure(generate({"--json-schema", folder / "absent.json"}), "absent.json");
  check_failure(generate({"--grammar", folder / "bad.gbnf"}), "bad.gbnf: line 1");
  check_usage_error(generate({"--grammar", folder / "bad.gbnf", "--json-object"}),
                    "exclude each other");
}

TEST_CASE("what is generated satisfies a validator that did not come from us", "[validator]") {
  if (run({.arguments = {"-c", "import jsonschema"}, .program = "python3"}).code != 0) {
    WARN("skipped: python3 has no jsonschema; install python3-jsonschema");
    skipped = true;
    return;
  }
  const Folder folder;
  const std::string script =
      "import json, jsonschema, sys\n"
      "schema = json.load(open(sys.argv[1]))\n"
      "jsonschema.validate(json.loads(sys.stdin.read()), schema,\n"
      "                    format_checker=jsonschema.FormatChecker())\n";
  int complete = 0;
  for (const auto& [name, schema] : kSchemas) {
    const std::string path = folder / (std::string(name) + ".json");
    write_text(path, schema);
    for (int seed = 0; seed < 8; ++seed) {
      const nlohmann::json made = run_json(generate(
          {"--json-schema", path, "--temp", "1.3", "--json", "--seed", std::to_string(seed)}));
      if (made["stop"] != "end") continue;
      ++complete;
      Call validate{.arguments = {"-c", script, path}, .program = "python3"};
      validate.input = made["continuation"];
      const Outcome outcome = run(validate);
      INFO(name << ": " << made["continuation"] << outcome.err);
      CHECK(outcome.code == 0);
    }
  }
  CHECK(complete >= 24);
}

TEST_CASE("drafts change nothing but the time", "[draft]") {
  for (const char* sampling : {"--greedy", "--ignore-eos"}) {
    const std::vector<std::string> plain = generate({"--json", sampling, "--logprobs", "2"});
    std::vector<std::string> drafted = plain;
    drafted.insert(drafted.end(), {"--draft", "ngram", "--draft-tokens", "6"});
    const nlohmann::json one = run_json(plain), other = run_json(drafted);
    CHECK(one["ids"] == other["ids"]);
    CHECK(one["logprobs"] == other["logprobs"]);
    CHECK_FALSE(one.contains("drafted"));
    CHECK(other["accepted"] <= other["drafted"]);
    if (std::string(sampling) == "--greedy") CHECK(other["drafted"] > 0);
  }
  const Outcome said =
      run({"generate", kModel, "-p", "a b c a b c a b", "-n", "20", "--draft", "ngram"});
  CHECK(said.err.find("drafts accepted") != std::string::npos);
  check_usage_error(generate({"--draft", "ngram", "--samples", "2"}), "--samples");
  check_usage_error(generate({"--draft", "model"}), "none, ngram");
  check_usage_error(generate({"--draft-tokens", "4"}), "--draft ngram");
}

}  // namespace klens::testing
