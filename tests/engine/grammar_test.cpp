// Constrained output with the demo model, through klens.h.
#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "klens/klens.hpp"
#include "tests/testing.h"

namespace klens {
namespace {

template <class Options>
Options defaults() {
  Options options{};
  options.size = sizeof options;
  return options;
}

const klens_model* demo_model() {
  static const ModelHandle model = open_model(KLENS_DEMO_MODEL, defaults<klens_model_options>());
  return model.get();
}

struct Generated {
  std::string text;
  bool complete;
};

// With a session of its own; at most `limit` tokens.
Generated generate(const klens_grammar* grammar, uint64_t seed, int limit) {
  auto* model = const_cast<klens_model*>(demo_model());
  const klens_tokenizer* tokenizer = klens_model_tokenizer(model);
  const SessionHandle session = new_session(model, defaults<klens_session_options>());
  klens_sampler_options options{};
  options.size = sizeof options;
  options.temperature = seed == 0 ? 0 : 1.5f;
  options.seed = seed;
  const SamplerHandle sampler = new_sampler(options, tokenizer);
  use_grammar(sampler.get(), grammar);
  eval(session.get(), tokenize(tokenizer, "The river", true));
  std::vector<int32_t> ids;
  while (static_cast<int>(ids.size()) < limit &&
         klens_sampler_grammar_progress(sampler.get()) != KLENS_GRAMMAR_FINISHED) {
    const int32_t id = sample(sampler.get(), session.get());
    if (klens_model_is_eos(model, id) != 0) break;
    ids.push_back(id);
    eval(session.get(), {id});
  }
  return {detokenize(tokenizer, ids, false),
          klens_sampler_grammar_progress(sampler.get()) != KLENS_GRAMMAR_OPEN};
}

std::string problem(klens_grammar_kind kind, const std::string& text, const char* name = nullptr) {
  klens_grammar* grammar = nullptr;
  klens_error error{};
  if (klens_grammar_new(demo_model(), kind, text.data(), text.size(), name, &grammar, &error) ==
      KLENS_OK) {
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
  const GrammarHandle grammar =
      new_grammar(demo_model(), KLENS_GRAMMAR_JSON_SCHEMA, schema, "schema");
  int complete = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Generated made = generate(grammar.get(), seed, 300);
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
  const GrammarHandle object = new_grammar(demo_model(), KLENS_GRAMMAR_JSON_OBJECT, "", "object");
  int complete = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Generated made = generate(object.get(), seed, 400);
    INFO(made.text);
    CHECK(made.text.starts_with("{"));
    if (!made.complete) continue;
    ++complete;
    CHECK(nlohmann::json::parse(made.text).is_object());
  }
  CHECK(complete > 0);
  const GrammarHandle answer = new_grammar(demo_model(), KLENS_GRAMMAR_GBNF,
                                           R"(root ::= "yes" | "no, " [a-z]{3} "!")", "grammar");
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Generated made = generate(answer.get(), seed, 50);
    INFO(made.text);
    CHECK(made.complete);
    CHECK((made.text == "yes" || (made.text.starts_with("no, ") && made.text.size() == 8)));
  }
}

TEST_CASE("states for callers who choose themselves", "[grammar]") {
  const klens_tokenizer* tokenizer = klens_model_tokenizer(demo_model());
  const int32_t vocab = klens_model_vocab(demo_model());
  GrammarHandle grammar =
      new_grammar(demo_model(), KLENS_GRAMMAR_GBNF, R"(root ::= "the river" [0-9]*)", "grammar");
  const GrammarStateHandle state = new_grammar_state(grammar.get());
  grammar.reset();  // states outlive it
  for (const int32_t id : tokenize(tokenizer, "the river", false)) {
    const std::vector<uint64_t> bits = mask(state.get(), vocab);
    CHECK((bits[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0);
    CHECK(klens_grammar_state_progress(state.get()) == KLENS_GRAMMAR_OPEN);
    accept(state.get(), id);
  }
  CHECK(klens_grammar_state_progress(state.get()) == KLENS_GRAMMAR_COMPLETE);
  const GrammarStateHandle copy = fork(state.get());
  const int32_t seven = tokenize(tokenizer, "7", false).back();
  accept(copy.get(), seven);
  const int32_t letter = tokenize(tokenizer, "q", false).back();
  CHECK_THROWS_AS(accept(copy.get(), letter), Failure);
  CHECK_THROWS_AS(accept(copy.get(), -1), Failure);
  CHECK_THROWS_AS(accept(copy.get(), vocab), Failure);
  // Only what ends a turn, and digits.
  const std::vector<uint64_t> bits = mask(copy.get(), vocab);
  int ends = 0;
  for (int32_t id = 0; id < vocab; ++id) {
    if ((bits[static_cast<size_t>(id) / 64] >> (id % 64) & 1) == 0) continue;
    if (klens_model_is_eos(demo_model(), id) != 0) {
      ++ends;
      continue;
    }
    const std::string text = detokenize(tokenizer, {id}, false);
    CHECK((!text.empty() && text.find_first_not_of("0123456789") == text.npos));
  }
  CHECK(ends > 0);
  check([&](klens_error* e) { return klens_grammar_state_reset(copy.get(), e); });
  CHECK(klens_grammar_state_progress(copy.get()) == KLENS_GRAMMAR_OPEN);
}

TEST_CASE("a sampler stops where its grammar does", "[grammar]") {
  auto* model = const_cast<klens_model*>(demo_model());
  const GrammarHandle grammar =
      new_grammar(model, KLENS_GRAMMAR_GBNF, R"(root ::= "a")", "grammar");
  const SessionHandle session = new_session(model, defaults<klens_session_options>());
  eval(session.get(), {1});
  const SamplerHandle sampler =
      new_sampler(defaults<klens_sampler_options>(), klens_model_tokenizer(model));
  use_grammar(sampler.get(), grammar.get());
  sample(sampler.get(), session.get());
  CHECK(klens_sampler_grammar_progress(sampler.get()) == KLENS_GRAMMAR_FINISHED);
  // All that is left is an end of a turn.
  CHECK(klens_model_is_eos(model, sample(sampler.get(), session.get())) != 0);
  use_grammar(sampler.get(), nullptr);
  CHECK(klens_sampler_grammar_progress(sampler.get()) == KLENS_GRAMMAR_OPEN);
  sample(sampler.get(), session.get());
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
