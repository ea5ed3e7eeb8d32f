// What a model's chat template is given, and which of several templates is taken.
#include <catch2/catch.hpp>

#include "base/error.h"
#include "loaders/chat_template/prompt.h"

namespace klens {
namespace {

constexpr const char* kHello = R"([{"role":"user","content":"hello"}])";

std::string prompt(const std::string& source, const std::string& messages = kHello,
                   const std::string& config = "{}") {
  ModelTexts texts;
  texts.chat_template = source;
  texts.tokenizer_config = config;
  return chat_prompt(texts, "model", messages, true);
}

}  // namespace

TEST_CASE("the context has every special token that is set", "[chat_template]") {
  const std::string config = R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"pad_token":"<p>",
      "unk_token":"<u>","sep_token":"<e>","cls_token":"<c>","mask_token":null,
      "additional_special_tokens":["<x>",{"content":"<y>"}]})";
  CHECK(prompt("{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token }}{{ sep_token }}"
               "{{ cls_token }}{{ mask_token is defined }}{{ additional_special_tokens|join }}",
               kHello, config) == "<s></s><p><u><e><c>False<x><y>");
  CHECK(prompt("{{ bos_token is defined }}") == "False");
}

TEST_CASE("tools and documents are none where there are none", "[chat_template]") {
  CHECK(prompt("{{ tools is none }}{{ documents is none }}{{ tools is defined }}") ==
        "TrueTrueTrue");
  CHECK(prompt("{{ tools | selectattr('type', 'equalto', 'x') | list | length }}") == "0");
  const std::string with_tools =
      R"({"messages":[],"tools":[{"type":"f","b":1,"a":2}],"thinking_on":true})";
  CHECK(prompt("{{ tools[0] | tojson }}{{ thinking_on }}", with_tools) ==
        R"({"type": "f", "b": 1, "a": 2}True)");
}

TEST_CASE("messages keep the order of their keys", "[chat_template]") {
  CHECK(prompt("{{ messages[0] | tojson }}",
               R"([{"role":"user","content":"x","b":{"z":1,"a":2},"a":null}])") ==
        R"({"role": "user", "content": "x", "b": {"z": 1, "a": 2}})");
  CHECK(prompt("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}",
               R"([{"role":"assistant","content":"x","reasoning":"why"}])") == "whywhy");
}

TEST_CASE("a template that prints parts only is given parts", "[chat_template]") {
  CHECK(prompt("{% for m in messages %}{{ m.content[0].text }}{% endfor %}") == "hello");
  CHECK(prompt("{% for m in messages %}{% for p in m.content %}{{ p['text'] }}{% endfor %}"
               "{% endfor %}") == "hello");
  CHECK(prompt("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
               "{{ m.content[0].text }}!{% endif %}{% endfor %}") == "hello");
}

TEST_CASE("a list of named templates without a default is told", "[chat_template]") {
  ModelTexts texts;
  texts.tokenizer_config = R"({"chat_template":[{"name":"rag","template":"R"},
                                                {"name":"tool_use","template":"T"}]})";
  CHECK(has_chat_template(texts));
  try {
    chat_prompt(texts, "model", kHello, true);
    FAIL();
  } catch (const Error& error) {
    CHECK(std::string(error.what()) ==
          "model: has several chat templates (rag, tool_use) and none is the default; put the one "
          "you want beside the model as chat_template.jinja");
  }
  CHECK(chat_prompt(texts, "model", R"({"messages":[],"tools":[{}]})", true) == "T");
  texts.tokenizer_config = "{}";
  CHECK_FALSE(has_chat_template(texts));
  CHECK_THROWS_AS(chat_prompt(texts, "model", kHello, true), Error);
}

}  // namespace klens
