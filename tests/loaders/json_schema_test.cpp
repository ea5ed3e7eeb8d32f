#include <random>

#include "tests/loaders/grammar_testing.h"

namespace klens::grammar {
namespace {

Matcher of_schema(const std::string& schema) {
  return matcher(parse_json_schema(schema, "schema"));
}

std::string refused_schema(const std::string& schema) {
  return refusal([&] { of_schema(schema); });
}

const std::vector<LanguageCase> kSchemaCases = {
    {"{}",
     {"1", "null", "[1, {\"a\": \"b\"}]", "\"\\u00e9\\ud83d\\ude00\\n\"", "-1.5e10"},
     {"", "01", "[1,]", "\"\\ud83d\"", "\"\n\"", "{a:1}", "1e999", "+1", ".5", "nul"}},
    {"true", {"[]"}, {"]"}},
    {R"({"type":["integer","null"]})", {"12", "-3", "0", "null"}, {"1.0", "1e2", "\"1\"", "true"}},
    {R"({"type":"boolean"})", {"true", "false"}, {"True", "1"}},
    {R"({"enum":["a\"b",1,null,[1,{"x":2}]]})",
     {"\"a\\\"b\"", "1", "null", "[1, {\"x\": 2}]"},
     {"\"a\"", "2", "[1]"}},
    {R"({"const":{"a":1,"b":"c"}})", {R"({"a":1,"b":"c"})"}, {R"({"a":1})", "1"}},
    {R"({"enum":[1,2,"x"],"type":"integer","minimum":2})", {"2"}, {"1", "\"x\""}},
    {R"({"type":"integer","minimum":-5,"maximum":120})",
     {"-5", "-1", "0", "9", "99", "100", "120"},
     {"-6", "121", "-0", "00", "1000", "5.0"}},
    {R"({"type":"integer","exclusiveMinimum":10,"exclusiveMaximum":13})",
     {"11", "12"},
     {"10", "13", "1", "-11"}},
    {R"({"type":"integer","maximum":-17})", {"-17", "-18", "-100"}, {"-16", "0", "17", "-1"}},
    {R"({"type":"number","minimum":0.5,"maximum":1.25})",
     {"0.5", "0.50", "0.75", "1", "1.0", "1.25", "1.2", "1.2500"},
     {"0.49", "0.4999", "1.26", "1.2501", "2", "0", "-1", "1e0"}},
    {R"({"type":"number","exclusiveMinimum":-1.5,"exclusiveMaximum":0})",
     {"-1.49", "-0.1", "-1"},
     {"-1.5", "-1.50", "0", "-0", "0.0", "-2", "1"}},
    {R"({"type":"integer","multipleOf":7,"minimum":10,"maximum":40})",
     {"14", "21", "28", "35"},
     {"7", "10", "42", "15"}},
    {R"({"type":"number","multipleOf":0.25,"minimum":0})",
     {"0", "0.5", "1.25", "7.75", "3"},
     {"0.1", "0.3", "1.255"}},
    {R"({"type":"integer","minimum":123456789012345678901234567890})",
     {"200000000000000000000000000000", "999999999999999999999999999999"},
     {"12345678901234567"}},
    {R"({"type":"string","minLength":2,"maxLength":4})",
     {"\"ab\"", "\"\xC3\xA9\xE2\x82\xAC\"", "\"a\\\"\\n\\\\\""},
     {"\"a\"", "\"abcde\"", "ab"}},
    {R"({"type":"string","maxLength":3000,"minLength":1})", {"\"x\"", "\"yes\\n\""}, {"\"\""}},
    {R"({"type":"string","pattern":"^[A-Z]{2}-\\d{3}$"})",
     {"\"AB-123\""},
     {"\"AB-12\"", "\"xAB-123\"", "\"AB-1234\""}},
    {R"({"type":"string","pattern":"b+c|^q"})",
     {"\"xbcx\"", "\"bbc\"", "\"quiet\""},
     {"\"b\"", "\"xq\""}},
    {R"({"type":"string","pattern":"^(?:a|\\x62|\\u{63})*\\.$","maxLength":3})",
     {"\".\"", "\"ab.\"", "\"cc.\""},
     {"\"abc.\"", "\"ab\"", "\"abcd\""}},
    {R"({"type":"string","pattern":"^[^\"\\s]\\\\\"$"})", {R"("a\\\"")"}, {R"(" \\\"")"}},
    {R"({"allOf":[{"pattern":"^a"},{"pattern":"z$"},{"type":"string"}]})",
     {"\"az\"", "\"abz\""},
     {"\"a\"", "\"z\"", "\"ba z\""}},
    {R"({"type":"string","format":"date"})",
     {"\"2024-02-28\"", "\"1999-12-31\""},
     {"\"2024-02-30\"", "\"2024-13-01\"", "\"0000-01-01\"", "\"24-1-1\""}},
    {R"({"type":"string","format":"date-time"})",
     {"\"2024-02-28T23:59:59Z\"", "\"2024-02-28T23:59:59.123+01:30\""},
     {"\"2024-02-28 23:59:59Z\"", "\"2024-02-28T24:00:00Z\"", "\"2024-02-28T23:59:59\""}},
    {R"({"type":"string","format":"uuid"})",
     {"\"123e4567-e89b-12d3-a456-426614174000\""},
     {"\"123e4567e89b12d3a456426614174000\""}},
    {R"({"type":"string","format":"email"})", {"\"a.b+c@example.com\""}, {"\"a@\"", "\"@b\""}},
    {R"({"type":"string","format":"ipv6"})",
     {"\"::\"", "\"1::8\"", "\"1:2:3:4:5:6:7:8\"", "\"::1\"", "\"1:2:3:4:5:6:7::\""},
     {"\"1:2\"", "\"1:::2\"", "\"1:2:3:4:5:6:7:8:9\"", "\"12345::\""}},
    {R"({"type":"string","format":"uri"})",
     {"\"https://a.example/b%20c?d=e#f\""},
     {"\"a b\"", "\"/x\""}},
    {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
     {"[1]", "[1,2]", "[1, 2, 3]", "[\n  1\n]"},
     {"[]", "[1,2,3,4]", "[\"a\"]", "[1,]"}},
    {R"({"type":"array","items":{"enum":[0,1]},"minItems":500,"maxItems":600})",
     {},
     {"[0,1]", "[]"}},
    {R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"null"},"minItems":1})",
     {"[\"a\"]", "[\"a\",1]", "[\"a\",1,null,null]"},
     {"[]", "[1]", "[\"a\",null]", "[\"a\",1,2]"}},
    {R"({"type":"array","prefixItems":[{"type":"string"}],"items":false})",
     {"[]", "[\"a\"]"},
     {"[\"a\",1]"}},
    {R"({"items":[{"type":"integer"}],"additionalItems":{"type":"string"},"type":"array"})",
     {"[]", "[1]", "[1,\"x\"]"},
     {"[\"x\"]", "[1,1]"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{}},"required":["b"]})",
     {R"({"b":"x"})", R"({"a":1,"b":"x"})", R"({"a": 1, "b": "x", "c": []})", R"({"b":"x","c":1})"},
     {"{}", R"({"a":1})", R"({"b":1})", R"({"b":"x",})", R"({"b":"x","d":1})",
      R"({"a":1"b":"x"})"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"boolean"}})",
     {"{}", R"({"a":1})", R"({"a":1,"x":true,"y":false})", R"({"ab":true})"},
     {R"({"x":1})", R"({"a":true})", R"({"x":true,"a":true})"}},
    {R"({"type":"object","patternProperties":{"^n_":{"type":"integer"},"_s$":{"type":"string"}},"additionalProperties":false})",
     {"{}", R"({"n_a":1,"b_s":"x"})"},
     {R"({"n_a":"x"})", R"({"n_s":1})", R"({"n_s":"x"})", R"({"q":1})"}},
    {R"({"type":"object","additionalProperties":{"type":"integer"},"propertyNames":{"pattern":"^[a-z]{1,3}$"}})",
     {R"({"abc":1})", "{}"},
     {R"({"abcd":1})", R"({"A":1})"}},
    {R"({"type":"object","properties":{"a":{},"b":{},"c":{}},"minProperties":2,"additionalProperties":false})",
     {R"({"a":1,"c":2})", R"({"a":1,"b":1,"c":1})"},
     {"{}", R"({"b":1})"}},
    {R"({"type":"object","properties":{"a":{},"b":{},"c":{}},"maxProperties":1})",
     {"{}", R"({"b":1})"},
     {R"({"a":1,"b":1})"}},
    {R"({"anyOf":[{"type":"string","maxLength":1},{"type":"object","properties":{"k":{"const":1}},"required":["k"]},{"type":"object","properties":{"k":{"const":2},"m":{}},"required":["k","m"]}]})",
     {"\"a\"", R"({"k":1})", R"({"k":2,"m":0})"},
     {R"({"k":2})", R"({"k":1,"m":0})", "\"ab\""}},
    {R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"allOf":[{"properties":{"a":{"minimum":3},"b":{"type":"null"}}},{"required":["b"]}]})",
     {R"({"a":3,"b":null})"},
     {R"({"a":2,"b":null})", R"({"a":3})"}},
    {R"({"allOf":[{"properties":{"a":true}},{"properties":{"b":true}}],"type":"object","unevaluatedProperties":false})",
     {R"({"a":1,"b":2})", R"({"b":2})"},
     {R"({"c":2})"}},
    {R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"]}}})",
     {R"({"v":1})", R"({"v":1,"kids":[{"v":2,"kids":[]},{"v":3}]})"},
     {R"({"kids":[]})", R"({"v":1,"kids":[{}]})"}},
    {R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]})",
     {R"({"next":null})", R"({"next":{"next":{"next":null}}})"},
     {R"({"next":{}})"}},
    {R"({"type":"string","nullable":true})", {"null", "\"\""}, {"1"}},
    {R"({"properties":{"a/b":{"type":"integer"},"\"\\":{"$ref":"#/properties/a~1b"}},"type":"object"})",
     {R"({"a/b":1,"\"\\":2})"},
     {R"({"\"\\":"x"})"}},
    // Of a schema that no value can meet where it need not be met.
    {R"({"type":"object","properties":{"a":false,"b":{"type":"integer"}}})",
     {R"({"b":1})", "{}"},
     {R"({"a":1})"}},
    {R"({"anyOf":[{"$ref":"#"},{"type":"string"}]})", {"\"a\""}, {"1"}},
};

const std::vector<std::pair<std::string, std::string>> kRefused = {
    {"{", "not valid JSON at byte"},
    {"[]", "a schema must be an object"},
    {R"({"properties":{"a":{},"b":{"type":"null"},"a":false}})",
     "schema: key a stands there twice"},
    {"", "not valid JSON"},
    {"\"\xff\"", "not valid JSON"},
    {"false", "no finite value"},
    {R"({"type":"int"})", "schema: /type: must name types"},
    {R"({"type":"array","uniqueItems":true})", "schema: /uniqueItems: cannot be enforced"},
    {R"({"properties":{"a":{"if":{},"then":{}}}})", "/properties/a: the keyword if"},
    {R"({"not":{"type":"string"}})", "/not: cannot be enforced"},
    {R"({"contains":{}})", "the keyword contains"},
    {R"({"dependentRequired":{}})", "the keyword dependentRequired"},
    {R"({"maxlength":3})", "the keyword maxlength"},
    {R"({"type":"string","format":"phone"})", "/format: the format phone"},
    {R"({"pattern":"(?=a)b"})", "/pattern: pattern (?=a)b looks around"},
    {R"({"pattern":"(a)\\1"})", "refers back"},
    {R"({"pattern":"a("})", "has a ( without a )"},
    {R"({"pattern":"\\p{L}"})", "\\p, which is not supported"},
    {R"({"pattern":"a{99999}"})", "repeats more than"},
    {R"G({"pattern":"(^a)"})G", "has ^ inside"},
    {R"({"$ref":"other.json"})", "refers to other.json, which is outside"},
    {R"({"$ref":"#/$defs/a"})", "which is not in the schema"},
    {R"({"$ref":"#"})", "no finite value"},
    {R"({"allOf":[{"$ref":"#"}]})", "no finite value"},
    {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "no finite value"},
    {R"({"type":"object","properties":{"a":{"type":"string","minLength":3,"maxLength":2}},"required":["a"]})",
     "/properties/a: no finite value"},
    {R"({"type":"integer","minimum":3,"exclusiveMaximum":3})", "no finite value"},
    {R"({"type":"integer","minimum":0.2,"maximum":0.8})", "no finite value"},
    {R"({"enum":["a"],"type":"integer"})", "no finite value"},
    {R"({"enum":[]})", "no finite value"},
    {R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "no finite value"},
    {R"({"type":"object","required":["a"],"additionalProperties":false})", "no finite value"},
    {R"({"type":"array","minItems":3,"maxItems":2})", "no finite value"},
    {R"({"type":"object","minProperties":2})", "minProperties cannot be enforced"},
    {R"({"minLength":-1})", "/minLength: must be an integer from 0"},
    {R"({"minimum":"1"})", "/minimum: must be a number"},
    {R"({"multipleOf":0})", "greater than 0"},
    {R"({"multipleOf":0.123456789})", "multipleOf is enforced up to"},
    {R"({"anyOf":[]})", "/anyOf: must be a list"},
    {R"({"properties":{"a":3}})", "/properties/a: a schema must be an object"},
};

}  // namespace

TEST_CASE("schemas take the values that they allow and no others", "[json_schema]") {
  for (const LanguageCase& test : kSchemaCases) check_language(of_schema(test.source), test);
}

TEST_CASE("what cannot be enforced or met is refused by its place", "[json_schema]") {
  for (const auto& [schema, said] : kRefused) {
    INFO(schema);
    const std::string message = refused_schema(schema);
    CHECK(message.find("schema:") == 0);
    CHECK(message.find(said) != std::string::npos);
  }
}

TEST_CASE("hostile schemas end in time and memory", "[json_schema]") {
  const double begin = fair_seconds();
  const auto nested = [](int levels, const std::string& open, const std::string& close) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += open;
    text += "{}";
    for (int i = 0; i < levels; ++i) text += close;
    return text;
  };
  CHECK(refused_schema(nested(100000, R"({"items":)", "}")).find("nested deeper") !=
        std::string::npos);
  CHECK(refused_schema(nested(25, R"({"type":"array","items":)", "}")).empty());
  // Each level is combined of the next, twice: 2^40 ways.
  std::string doubled = R"({"$ref":"#/$defs/d0","$defs":{)";
  std::string choices = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 40; ++i) {
    const std::string name = "\"d" + std::to_string(i) + "\":";
    const std::string next = R"({"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"}";
    doubled += name + R"({"allOf":[)" + next + "," + next + "]},";
    choices += name + R"({"anyOf":[)" + next + "," + next + "]},";
  }
  CHECK(refused_schema(doubled + R"("d40":{}}})").find("too often") != std::string::npos);
  CHECK_FALSE(refused_schema(choices + R"("d40":{}}})").empty());
  // A thousand properties, ten thousand names, a chain of references.
  std::string wide = R"({"type":"object","properties":{)", names = R"({"enum":[)";
  std::string chain = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 10000; ++i) {
    const std::string number = std::to_string(i), comma = i == 0 ? "" : ",";
    if (i < 1000) wide += comma + "\"p" + number + R"(":{"type":"integer"})";
    names += comma + "\"name " + number + "\"";
    chain += "\"d" + number + R"(":{"type":"object","properties":{"a":{"$ref":"#/$defs/d)" +
             std::to_string(i + 1) + R"("}}},)";
  }
  Matcher many = of_schema(wide + "}}");
  CHECK(many.accept_bytes("{\"p7\":1,\"p"));
  std::vector<uint64_t> mask(many.mask_words());
  many.mask(mask);
  CHECK((mask['9' / 64] >> ('9' % 64) & 1) != 0);
  CHECK(many.accept_bytes("998\":3}"));
  CHECK(many.complete());
  CHECK(refused_schema(names + "]}").empty());
  CHECK(refused_schema(chain + R"("d10000":{}}})").empty());
  for (const char* schema :
       {R"({"type":"string","minLength":999999999})", R"({"type":"array","minItems":999999999})",
        R"({"type":"string","pattern":"^(a|b)*a(a|b){60}$"})",
        R"G({"type":"string","pattern":"((((a{1000}){1000}){1000}){1000})"})G",
        R"({"type":"object","maxProperties":999999999,"properties":{"a":{}}})",
        R"({"type":"string","pattern":"x","maxLength":1000000})"}) {
    INFO(schema);
    refused_schema(schema);  // or not: it returns
  }
  CHECK(fair_seconds() - begin < 60);
}

// Texts that are made by choosing among what masks allow, at random.
TEST_CASE("what a schema leads to is JSON that it takes", "[json_schema]") {
  std::mt19937 random(11);
  for (const LanguageCase& test : kSchemaCases) {
    INFO(test.source);
    const Matcher start = of_schema(test.source);
    for (int text = 0; text < 4; ++text) {
      Matcher m = start;
      std::string made;
      for (int step = 0; step < 400 && m.can_continue(); ++step) {
        std::vector<uint64_t> mask(m.mask_words());
        m.mask(mask);
        std::vector<int32_t> allowed;
        for (int32_t id = 0; id < 256; ++id)
          if ((mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0) allowed.push_back(id);
        REQUIRE_FALSE(allowed.empty());
        // Ends are preferred, so that texts do end.
        int32_t chosen = allowed[random() % allowed.size()];
        for (const int32_t id : allowed)
          if (step > 60 &&
              std::string_view("\"]},:").find(static_cast<char>(id)) != std::string_view::npos)
            chosen = id;
        REQUIRE(m.accept(chosen));
        made += static_cast<char>(chosen);
      }
      if (!m.complete()) continue;
      INFO(made);
      CHECK(accepts(start, made));
    }
  }
}

}  // namespace klens::grammar
