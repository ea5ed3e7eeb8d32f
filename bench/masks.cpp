// How long masks take: klens_bench_masks TOKENIZER.json. Texts that keep to a grammar are followed
// token by token, and the mask of each place is timed: for a grammar that is new, and one whose
// parts were asked for before.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "loaders/grammar/gbnf.h"
#include "loaders/grammar/json_schema.h"
#include "loaders/grammar/matcher.h"
#include "loaders/tokenizer/tokenizer.h"

namespace klens {
namespace {

using grammar::Constraint;
using grammar::Matcher;

struct Case {
  const char* name;
  grammar::Grammar grammar;
  std::vector<std::string> texts;
};

const char* kPerson =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":40},"email":{"type":"string","format":"email"},)"
    R"("born":{"type":"string","format":"date"},"age":{"type":"integer","minimum":0,"maximum":150},)"
    R"("tags":{"type":"array","items":{"enum":["new","known","left"]}},"notes":{"type":"string"},)"
    R"("friends":{"type":"array","items":{"$ref":"#"}}},"required":["name","age"],"additionalProperties":false})";
const char* kPersonText =
    R"({"name": "Ada Lovelace of London", "email": "ada.l@example.com", "born": "1815-12-10", "age": 36, "tags": ["known", "left"], )"
    R"("notes": "She wrote, in 1843, what is called the first program; it computes Bernoulli numbers.", )"
    R"("friends": [{"name": "Charles", "age": 79, "notes": "An engine\nof brass."}]})";

std::vector<Case> cases() {
  std::vector<Case> all;
  all.push_back({"JSON object", grammar::json_object(), {kPersonText}});
  all.push_back({"JSON schema", grammar::parse_json_schema(kPerson, "schema"), {kPersonText}});
  all.push_back({"arithmetic",
                 grammar::parse_gbnf("root ::= root [-+*/] term | term\n"
                                     "term ::= [0-9]+ | \"(\" root \")\" | \" \" term",
                                     "grammar"),
                 {"(1+ 2)* 345- 6789/ (10+ 11* (12- 13))+ 14151617* 2"}});
  all.push_back({"free lines",
                 grammar::parse_gbnf("root ::= line+\nline ::= [^\\n]+ \"\\n\"", "grammar"),
                 {"Every line is free,\nbut for its end: it must come.\nThen another begins.\n"}});
  return all;
}

std::shared_ptr<const grammar::TokenTable> table(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    bytes.push_back(tokenizer.text_bytes(id).value_or(""));
  return std::make_shared<const grammar::TokenTable>(std::move(bytes), std::vector<int32_t>{0});
}

std::vector<double> follow(const std::shared_ptr<const Constraint>& constraint,
                           const std::vector<int32_t>& ids) {
  using Clock = std::chrono::steady_clock;
  Matcher matcher(constraint);
  std::vector<uint64_t> words(matcher.mask_words());
  std::vector<double> times;
  for (const int32_t id : ids) {
    const Clock::time_point start = Clock::now();
    matcher.mask(words);
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    const auto at = static_cast<size_t>(id);
    if ((words[at / 64] >> (at % 64) & 1) == 0 || !matcher.accept(id)) {
      std::printf("a token of the text is not allowed\n");
      break;
    }
  }
  std::sort(times.begin(), times.end());
  return times;
}

void report(const char* when, const std::vector<double>& times) {
  std::printf("  %-5s median %8.1f us   90 %% %8.1f us   most %8.1f us\n", when,
              times[times.size() / 2], times[times.size() * 9 / 10], times.back());
}

int run(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Tokenizer tokenizer = Tokenizer::from_json(text, path);
  const auto tokens = table(tokenizer);
  std::printf("%d tokens\n", static_cast<int>(tokenizer.vocab_size()));
  for (const Case& test : cases()) {
    const auto constraint = std::make_shared<const Constraint>(test.grammar, tokens);
    std::vector<int32_t> ids;
    for (const std::string& line : test.texts) {
      const std::vector<int32_t> part = tokenizer.encode(line, false);
      ids.insert(ids.end(), part.begin(), part.end());
    }
    std::printf("%s, %zu tokens of text, %zu states\n", test.name, ids.size(),
                constraint->automaton().states());
    report("first", follow(constraint, ids));
    report("again", follow(constraint, ids));
  }
  return 0;
}

}  // namespace
}  // namespace klens

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: klens_bench_masks TOKENIZER.json\n");
    return 2;
  }
  try {
    return klens::run(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
