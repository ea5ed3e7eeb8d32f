// Constrained output with the demo model, through klens.hpp.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "klens/klens.hpp"

namespace klens {
namespace {

const Model& demo_model() {
  static const Model model(KLENS_DEMO_MODEL);
  return model;
}

std::vector<int32_t> ids_of(std::string_view text, bool add_special) {
  return demo_model().tokenizer()->tokenize(text, add_special);
}

std::string text_of(const std::vector<int32_t>& ids) {
  return demo_model().tokenizer()->detokenize(ids, false);
}

struct Generated {
  std::string text;
  bool complete;
};

// With a session of its own; at most `limit` tokens.
Generated generate(const Grammar& grammar, uint64_t seed, int limit) {
  Session session(demo_model());
  auto options = sized<klens_sampler_options>();
  options.temperature = seed == 0 ? 0 : 1.5f;
  options.seed = seed;
  Sampler sampler(demo_model(), options);
  sampler.use_grammar(&grammar);
  session.eval(ids_of("The river", true));
  std::vector<int32_t> ids;
  while (static_cast<int>(ids.size()) < limit &&
         sampler.grammar_progress() != KLENS_GRAMMAR_FINISHED) {
    const int32_t id = sampler.sample(session);
    if (demo_model().is_eos(id)) break;
    ids.push_back(id);
    session.eval({{id}});
  }
  return {text_of(ids), sampler.grammar_progress() != KLENS_GRAMMAR_OPEN};
}

// As from C, where a kind may be any number.
__attribute__((no_sanitize("enum"))) std::string problem(klens_grammar_kind kind,
                                                         const std::string& text,
                                                         const char* name = nullptr) {
  klens_grammar* grammar = nullptr;
  klens_error error{};
  if (klens_grammar_new(demo_model().get(), kind, text.data(), text.size(), name, &grammar,
                        &error) == KLENS_OK) {
    klens_grammar_free(grammar);
    return "";
  }
  CHECK(grammar == nullptr);
  return error.message;
}

}  // namespace

TEST_CASE("what is generated keeps to a schema, whatever the seed", "[grammar]") {
  const std::string schema = R"({"type":"object","properties":{
    "name":{"type":"string","minLength":1,"maxLength":12},
    "born":{"type":"string","format":"date"},
    "age":{"type":"integer","minimum":0,"maximum":120},
    "score":{"type":"number","minimum":0,"maximum":1},
    "kind":{"enum":["river","town","person"]},
    "tags":{"type":"array","items":{"type":"string","pattern":"^[a-z]{1,8}$"},"maxItems":3},
    "next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/point"}]}},
    "required":["name","age","kind"],"additionalProperties":false,
    "$defs":{"point":{"type":"object","properties":{"x":{"type":"integer","minimum":-9,"maximum":9}},"required":["x"]}}})";
  const Grammar grammar(demo_model(), KLENS_GRAMMAR_JSON_SCHEMA, schema);
  int complete = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Generated made = generate(grammar, seed, 300);
    INFO("seed " << seed << ": " << made.text);
    if (!made.complete) continue;
    ++complete;
    const auto value = nlohmann::json::parse(made.text);
    CHECK(!value["name"].get<std::string>().empty());
    CHECK((value["age"].is_number_integer() && value["age"] >= 0 && value["age"] <= 120));
    const std::string kind = value["kind"];
    CHECK((kind == "river" || kind == "town" || kind == "person"));
    if (value.contains("born")) CHECK(value["born"].get<std::string>().size() == 10);
    if (value.contains("score")) CHECK((value["score"] >= 0 && value["score"] <= 1));
    if (value.contains("tags")) {
      CHECK(value["tags"].size() <= 3);
      for (const std::string tag : value["tags"])
        CHECK((tag.size() <= 8 && tag.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == tag.npos));
    }
    if (value.contains("next") && !value["next"].is_null())
      CHECK((value["next"]["x"] >= -9 && value["next"]["x"] <= 9));
  }
  CHECK(complete >= 36);
}

TEST_CASE("any object, and a grammar", "[grammar]") {
  const Grammar object(demo_model(), KLENS_GRAMMAR_JSON_OBJECT, "");
  int complete = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Generated made = generate(object, seed, 400);
    INFO(made.text);
    CHECK(made.text.starts_with("{"));
    if (!made.complete) continue;
    ++complete;
    CHECK(nlohmann::json::parse(made.text).is_object());
  }
  CHECK(complete > 0);
  const Grammar answer(demo_model(), KLENS_GRAMMAR_GBNF, R"(root ::= "yes" | "no, " [a-z]{3} "!")");
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Generated made = generate(answer, seed, 50);
    INFO(made.text);
    CHECK(made.complete);
    CHECK((made.text == "yes" || (made.text.starts_with("no, ") && made.text.size() == 8)));
  }
}

TEST_CASE("states for callers who choose themselves", "[grammar]") {
  const int32_t vocab = demo_model().vocab();
  std::optional<Grammar> grammar(std::in_place, demo_model(), KLENS_GRAMMAR_GBNF,
                                 R"(root ::= "the river" [0-9]*)");
  GrammarState state(*grammar);
  grammar.reset();  // states outlive it
  for (const int32_t id : ids_of("the river", false)) {
    const std::vector<uint64_t> bits = state.mask();
    CHECK((bits[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0);
    CHECK(state.progress() == KLENS_GRAMMAR_OPEN);
    state.accept(id);
  }
  CHECK(state.progress() == KLENS_GRAMMAR_COMPLETE);
  GrammarState copy = state.fork();
  copy.accept(ids_of("7", false).back());
  CHECK_THROWS_AS(copy.accept(ids_of("q", false).back()), Failure);
  CHECK_THROWS_AS(copy.accept(-1), Failure);
  CHECK_THROWS_AS(copy.accept(vocab), Failure);
  // Only what ends a turn, and digits.
  const std::vector<uint64_t> bits = copy.mask();
  int ends = 0;
  for (int32_t id = 0; id < vocab; ++id) {
    if ((bits[static_cast<size_t>(id) / 64] >> (id % 64) & 1) == 0) continue;
    if (demo_model().is_eos(id)) {
      ++ends;
      continue;
    }
    const std::string text = text_of({id});
    CHECK((!text.empty() && text.find_first_not_of("0123456789") == text.npos));
  }
  CHECK(ends > 0);
  copy.reset();
  CHECK(copy.progress() == KLENS_GRAMMAR_OPEN);
}

TEST_CASE("a sampler stops where its grammar does", "[grammar]") {
  const Grammar grammar(demo_model(), KLENS_GRAMMAR_GBNF, R"(root ::= "a")");
  Session session(demo_model());
  session.eval({{1}});
  Sampler sampler(demo_model(), sized<klens_sampler_options>());
  sampler.use_grammar(&grammar);
  sampler.sample(session);
  CHECK(sampler.grammar_progress() == KLENS_GRAMMAR_FINISHED);
  // All that is left is an end of a turn.
  CHECK(demo_model().is_eos(sampler.sample(session)));
  sampler.use_grammar(nullptr);
  CHECK(sampler.grammar_progress() == KLENS_GRAMMAR_OPEN);
  sampler.sample(session);
}

TEST_CASE("grammars that cannot be used are refused in one line", "[grammar]") {
  CHECK(problem(KLENS_GRAMMAR_GBNF, "a ::= b").find("grammar: has no rule root") == 0);
  CHECK(problem(KLENS_GRAMMAR_JSON_SCHEMA, R"({"type":"x"})", "s.json").find("s.json: /type") == 0);
  CHECK(problem(KLENS_GRAMMAR_JSON_SCHEMA, "false").find("schema:") == 0);
  CHECK(problem(static_cast<klens_grammar_kind>(77), "").find("kind") != std::string::npos);
  CHECK(problem(KLENS_GRAMMAR_JSON_OBJECT, "").empty());
  klens_error error{};
  CHECK(klens_grammar_new(nullptr, KLENS_GRAMMAR_GBNF, "", 0, nullptr, nullptr, &error) ==
        KLENS_BAD_ARGUMENT);
  klens_grammar_free(nullptr);
  klens_grammar_state_free(nullptr);
}

}  // namespace klens
