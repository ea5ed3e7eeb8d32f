#include <algorithm>
#include <random>

#include "tests/loaders/grammar_testing.h"

namespace klens::grammar {
namespace {

Matcher of_gbnf(const std::string& gbnf, const std::vector<std::string>& more = {}) {
  return matcher(parse_gbnf(gbnf, "grammar"), more);
}

std::string refused_gbnf(const std::string& gbnf) {
  return refusal([&] { matcher(parse_gbnf(gbnf, "grammar")); });
}

const std::vector<LanguageCase> kGbnfCases = {
    {R"(root ::= "a" | "bc"?)", {"a", "bc", ""}, {"b", "abc", "c"}},
    {R"(root ::= [a-c]+ [^a-z] .)", {"abc1x", "a\xC3\xA9\xE2\x82\xAC"}, {"abc", "1x", "aax"}},
    {R"(root ::= "x"{2,4} "y"{2} "z"{1,})", {"xxyyz", "xxxxyyzzzz"}, {"xyyz", "xxxxxyyz", "xxyz"}},
    {"root ::= a (\n  b | # a comment\n  c)*\na ::= \"a\"\nb ::= \"b\" \nc ::= \"c\"",
     {"a", "abcb"},
     {"", "b", "abd"}},
    // Left recursion, both recursions at once, and a rule of nothing.
    {R"G(root ::= root "+" t | t
t ::= [0-9]+ | "(" root ")")G",
     {"1", "1+22+(3+4)"},
     {"+", "1+", "(1", "1)"}},
    {R"(root ::= root root | "a" |)", {"", "a", "aaaaaaaaaaaaaaaaaaaaaaaa"}, {"b", "aab"}},
    {R"(root ::= e e e "." e
e ::= | "e" e)",
     {".", "e.", "eeeee.eee"},
     {"", "e"}},
    {R"(root ::= a | b
a ::= | "x" a "y"
b ::= | "x" b "z")",
     {"", "xxyy", "xxxzzz"},
     {"xxyz", "xy y", "xxy"}},
    {"root ::= \"\\x41\\u00e9\\U0001F600\\n\\\"\\\\\"", {"A\xC3\xA9\xF0\x9F\x98\x80\n\"\\"}, {"A"}},
    {R"(root ::= [^\]\\\-a]+ [\]\\a-])", {"xyz]", "b-" /* - closes a set */}, {"]", "a", "x"}},
    // Counted, as 3000 copies are too many to write out.
    {R"(root ::= "[" ([a-z] [0-9]?){2,3000} "]")", {"[ab]", "[a1b2c]"}, {"[a]", "[]", "[a12]"}},
    {R"(root ::= ("ab"* "c"?){700,900} "!")", {"!", "ababc!", "cccc!"}, {"b!"}},
};

}  // namespace

TEST_CASE("grammars take the texts of their language and no others", "[grammar]") {
  for (const LanguageCase& test : kGbnfCases) check_language(of_gbnf(test.source), test);
}

TEST_CASE("schemas within a grammar", "[grammar]") {
  const Matcher two = of_gbnf(
      "root ::= \"<\" (%json {\"type\":\"integer\", \"maximum\": 99, \"minimum\": 0} | name) \">\" "
      "root?\n"
      "name ::= %json {\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"enum\": [\"}\", "
      "\"\\\"{\"]}}}\n");
  for (const char* text : {"<7>", "<99><0>", "<\"}\">", "<\"\\\"{\"><3>"})
    CHECK(accepts(two, text));
  for (const char* text : {"<>", "<100>", "<7", "7", "<\"{\">", "<[]>"})
    CHECK_FALSE(accepts(two, text));
  // Each list is as long as its schema says, wherever it stands.
  const Matcher lists = of_gbnf(
      "root ::= %json "
      "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":1,\"maxItems\":1} "
      "%json {\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":2,\"maxItems\":2}*");
  for (const char* text : {"[null]", "[null][null,null]", "[null][null,null][null,null]"})
    CHECK(accepts(lists, text));
  for (const char* text : {"", "[null,null]", "[null][null]"}) CHECK_FALSE(accepts(lists, text));
}

TEST_CASE("a byte order mark before a grammar or a schema is passed over", "[grammar]") {
  CHECK(accepts(of_gbnf("\xEF\xBB\xBFroot ::= \"a\""), "a"));
  CHECK_NOTHROW(parse_json_schema("\xEF\xBB\xBF{\"type\":\"null\"}", "schema"));
}

TEST_CASE("counted repetitions hold their bounds", "[grammar]") {
  const Matcher start = of_gbnf(R"(root ::= "[" [a-z]{1990,2000} "]")");
  for (const size_t count : {1989u, 1990u, 1995u, 2000u, 2001u}) {
    INFO(count);
    CHECK(accepts(start, "[" + std::string(count, 'q') + "]") == (count >= 1990 && count <= 2000));
  }
}

TEST_CASE("a refused token leaves the state as it was", "[grammar]") {
  Matcher m = of_gbnf(R"(root ::= "ab" [0-9]+)");
  CHECK(m.accept_bytes("ab1"));
  CHECK_FALSE(m.accept_bytes("2x"));
  CHECK_FALSE(m.accept(1000));
  CHECK_FALSE(m.accept(-1));
  CHECK(m.complete());
  CHECK(m.accept_bytes("2"));
  CHECK(m.can_continue());
  Matcher copy = m;
  CHECK(copy.accept(256));
  CHECK(copy.ended());
  CHECK_FALSE(copy.accept_bytes("3"));
  CHECK(m.accept_bytes("3"));
  m.reset();
  CHECK_FALSE(m.complete());
  CHECK_FALSE(m.accept(256));
  CHECK(m.accept_bytes("ab7"));
}

TEST_CASE("what can follow nothing is said to be finished", "[grammar]") {
  Matcher m = of_gbnf(R"(root ::= "yes" | "no" "pe"?)");
  CHECK(m.accept_bytes("no"));
  CHECK((m.complete() && m.can_continue()));
  CHECK(m.accept_bytes("pe"));
  CHECK((m.complete() && !m.can_continue()));
}

// The mask is what accepting every token by itself says, all along texts that it leads to.
TEST_CASE("masks agree with taking each token", "[grammar]") {
  std::vector<std::string> more = {"ab",
                                   "aab",
                                   "xx",
                                   "xxy",
                                   "yy",
                                   "1+",
                                   "+2",
                                   "))",
                                   "((",
                                   "]",
                                   "[a",
                                   "a1",
                                   "b2c",
                                   "ee.",
                                   ".e",
                                   "!",
                                   "c!",
                                   "zz",
                                   "bc",
                                   "abc",
                                   "\"a",
                                   "ee",
                                   "ba]",
                                   std::string(20, 'e'),
                                   std::string(17, 'q') + "]",
                                   std::string(40, 'x') + "y",
                                   "\xC3",
                                   "\xA9\xE2",
                                   "\x82\xAC"};
  std::mt19937 random(7);
  for (const LanguageCase& test : kGbnfCases) {
    INFO(test.source);
    const Matcher start = of_gbnf(test.source, more);
    const auto tokens = static_cast<int32_t>(257 + more.size());
    for (int text = 0; text < 6; ++text) {
      Matcher m = start;
      for (int step = 0; step < 25 && !m.ended(); ++step) {
        std::vector<uint64_t> mask(m.mask_words());
        m.mask(mask);
        std::vector<int32_t> allowed;
        for (int32_t id = 0; id < tokens; ++id) {
          Matcher copy = m;
          const bool may = (mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
          REQUIRE(copy.accept(id) == may);
          if (may) allowed.push_back(id);
        }
        REQUIRE(allowed.empty() == (!m.complete() && !m.can_continue()));
        // Longer tokens more often than their number says.
        const int32_t choice =
            random() % 2 == 0 ? allowed.back() : allowed[random() % allowed.size()];
        REQUIRE(m.accept(choice));
      }
    }
  }
}

TEST_CASE("grammars that cannot be used are refused with their line", "[grammar]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no rule root"},
      {"a ::= \"x\"", "no rule root"},
      {"root ::= a", "line 1: there is no rule a"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2: rule root stands there twice"},
      {"root ::= \"a", "line 1: a text has no closing"},
      {"root ::= [a", "line 1: a set has no closing"},
      {"root ::= [z-a]", "ends before it begins"},
      {"root ::= (\"a\"", "a ( has no )"},
      {"root ::= \"a\" )", "unexpected )"},
      {"root = \"a\"", "expected ::="},
      {"root ::= \"a\"{3,2}", "less than its first"},
      {"root ::= \"a\"{x}", "must be {n}"},
      {"root ::= \"a\"{9999999999}", "1000000 at most"},
      {"root ::= \"\\q\"", "no escape \\q"},
      {"root ::= \"\\ud800\"", "no Unicode character"},
      {"root ::= <think>", "tokens in grammars"},
      {"root ::= \"\xff\"", "not UTF-8"},
      {"root ::= \"a\" root", "no finite text"},
      {"root ::= []", "no finite text"},
      {std::string("root ::= ") + std::string(300, '(') + "\"a\"", "nested deeper"},
      {"root ::= ((([a-z]{1000}){1000}){1000}){1000}", ""},
      {"root ::= \"a\"\nb ::= %json", "line 2: %json needs a schema"},
      {"root ::= %json {\"type\": \"integer\"", "%json needs a schema"},
      {"root ::= %json true", "%json needs a schema"},
      {"root ::= %json {\"not\": {}}", "line 1: the schema of %json"},
      {"root ::= \"a\"\nb ::= %json {\"type\": }",
       "line 2: the schema of %json: is not valid JSON at byte 10"},
      {"root ::= %json {\"type\": \"null\", \"type\": \"string\"}", "key type stands there twice"},
  };
  for (const auto& [gbnf, said] : cases) {
    INFO(gbnf);
    const std::string message = refused_gbnf(gbnf);
    if (!said.empty()) CHECK(message.find("grammar: ") == 0);
    CHECK(message.find(said) != std::string::npos);
  }
}

TEST_CASE("hostile grammars end in time", "[grammar]") {
  const double begin = fair_seconds();
  // The subset construction would make 2^40 states of it.
  CHECK(refused_gbnf("root ::= [ab]* \"a\" [ab]{40} \"c\"").find("states") != std::string::npos);
  // Every text of a's in as many ways as there are trees.
  Matcher trees = of_gbnf("root ::= root root root | \"a\" | \"a\" \"a\"");
  CHECK(trees.accept_bytes(std::string(60, 'a')));
  std::vector<uint64_t> mask(trees.mask_words());
  trees.mask(mask);
  CHECK((mask['a' / 64] >> ('a' % 64) & 1) != 0);
  // Rules that call each other in a long line.
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 5000; ++i)
    chain += "r" + std::to_string(i) + " ::= \"a\" r" + std::to_string(i + 1) + " \"b\"\n";
  chain += "r5000 ::= \"c\"\n";
  CHECK(accepts(of_gbnf(chain), std::string(5000, 'a') + "c" + std::string(5000, 'b')));
  CHECK(fair_seconds() - begin < 20);
}

// What a long text leaves behind is collected: lists that a rule makes by calling itself at its end
// need no more for each item.
TEST_CASE("long texts do not grow the state", "[grammar]") {
  Matcher m = of_gbnf(
      "root ::= item root | \"!\"\nitem ::= \"(\" item* \")\" | [a-z] [a-z] [a-z] [a-z] [a-z] "
      "[a-z]\n");
  for (int i = 0; i < 20000; ++i) REQUIRE(m.accept_bytes("((abcdef)ghijkl)"));
  CHECK(m.places() < 2000);
  CHECK(m.accept_bytes("!"));
  CHECK(m.complete());
}

}  // namespace klens::grammar
