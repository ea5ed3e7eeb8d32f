// Calls of tools that must be made (tool_choice): what the grammar leaves to the model is a call in
// the syntax of the model's own template.
#include "apps/serve/call_syntax.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "apps/cli/handles.h"
#include "apps/cli/output.h"
#include "apps/serve/answer_parser.h"
#include "apps/serve/chat_prompt.h"

using namespace klens;
using namespace klens::apps;
using namespace std::chrono_literals;

namespace {

const Tools& described_tools() {
  static const Tools kTools(Json::parse(R"([
    {"type": "function", "function": {"name": "get_weather", "description": "Of a place",
      "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "enum": ["Paris", "Bonn"]},
        "days": {"$ref": "#/$defs/days"}, "wet": {"type": "boolean"}},
        "required": ["place"], "$defs": {"days": {"enum": [1, 2, 3]}}}}},
    {"type": "function", "function": {"name": "now", "description": "The time",
      "parameters": {"type": "object", "properties": {}}}}])"));
  return kTools;
}

// Templates as those of published models write calls, where chat_templates.json has none.
std::string template_of(const std::string& call, const std::string& begin = "",
                        const std::string& end = "") {
  return "{%- if tools %}{{ tools | tojson }}\n{% endif -%}{%- for m in messages %}<{{ m.role }}>"
         "{{ m.content }}{%- if m.tool_calls %}" +
         begin + "{%- for c in m.tool_calls %}{%- set f = c.function %}" + call + "{%- endfor %}" +
         end +
         "{%- endif %}</s>\n{%- endfor %}{%- if add_generation_prompt %}<assistant>"
         "{%- if thinking %}<think>\n{% endif %}{%- endif %}";
}

std::string without_space(const std::string& text) {
  std::string dense;
  for (const char c : text)
    if (c != ' ' && c != '\n' && c != '\t') dense += c;
  return dense;
}

struct Served {
  explicit Served(const std::string& chat_template) {
    klens_model_options options{};
    options.size = sizeof options;
    options.threads = 2;
    options.chat_template = chat_template.c_str();
    model = open_model(KLENS_DEMO_MODEL, options);
    ServiceOptions service_options;
    service_options.path = KLENS_DEMO_MODEL;
    service_options.context_tokens = 100000;
    service_options.answer_tokens = 1000;
    service_options.scheduler = {.batch = 4, .queue = 64, .cache_bytes = 1 << 26};
    service.emplace(model.get(), service_options, metrics);
  }

  struct Said {
    std::string text;  // of the whole answer
    AnswerParts parts;
    Finish finish = Finish::kFailed;
    std::string problem;
  };
  Said say(Ask ask, bool thinking, const Tools& of) {
    ask.sampler.size = sizeof ask.sampler;
    ask.sampler.temperature = 1;
    ask.most = 600;
    ask.shown = service->markers;
    const auto mail = std::make_shared<Mailbox>();
    service->scheduler.submit({ask}, mail);
    Said said;
    for (bool ended = false; !ended;)
      for (const Piece& piece : mail->take(100ms)) {
        said.text += piece.text;
        ended = piece.ended;
        said.finish = piece.finish;
        said.problem = piece.problem;
      }
    AnswerParser parser(thinking, &of);
    said.parts = parser.push(said.text);
    AnswerParts last = parser.finish();
    said.parts.content += last.content;
    said.parts.calls.insert(said.parts.calls.end(), last.calls.begin(), last.calls.end());
    return said;
  }

  Said call(const Tools& of, uint64_t seed, const Json& variables = Json::object()) {
    const Json messages = Json::array({{{"role", "user"}, {"content", "Rain?"}}});
    const ChatPrompt prompt = chat_prompt(*service, messages, of, &variables);
    Ask ask;
    constrain_to_call(*service, prompt.text, of, &variables, ask);
    ask.sampler.seed = seed;
    ask.ids = prompt.ids;
    ask.grammar_after = prompt.end_of_thoughts;
    return say(ask, prompt.thinking, of);
  }

  // What the template writes where this was called.
  std::string written(const ToolCall& call, const Tools& of) {
    Json message = {{"role", "assistant"}, {"content", ""}};
    message["tool_calls"] =
        Json::array({{{"id", "000000000"},
                      {"type", "function"},
                      {"function", {{"name", call.name}, {"arguments", call.arguments}}}}});
    const Json context = {
        {"messages", Json::array({{{"role", "user"}, {"content", "Rain?"}}, message})},
        {"tools", of.list()}};
    const std::string json = compact(context);
    return text_of([&](char** text, klens_error* e) {
      return klens_chat_prompt(model.get(), json.c_str(), 0, text, e);
    });
  }

  ModelHandle model;
  Metrics metrics;
  std::optional<Service> service;
};

void check_call(const ToolCall& call) {
  if (call.name == "now") {
    CHECK(call.arguments == Json::object());
    return;
  }
  CHECK(call.name == "get_weather");
  const Json place = call.arguments.value("place", Json());
  CHECK((place == "Paris" || place == "Bonn"));
  if (call.arguments.contains("days")) {
    REQUIRE(call.arguments["days"].is_number_integer());
    CHECK((call.arguments["days"] >= 1 && call.arguments["days"] <= 3));
  }
  if (call.arguments.contains("wet")) CHECK(call.arguments["wet"].is_boolean());
}

struct Style {
  std::string name, source, begin;  // begin: of an answer
  bool writes = true;               // the template writes calls
};

std::vector<Style> styles() {
  std::ifstream in(std::string(KLENS_TEST_DATA) + "/chat_templates.json");
  const Json own = Json::parse(in)["templates"];
  const std::string tags =
      "<tool_call>\n<function={{ f.name }}>\n{% for k, v in f.arguments | items %}"
      "<parameter={{ k }}>\n{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}"
      "</function>\n</tool_call>";
  const std::string python =
      "{{ f.name }}({% for k, v in f.arguments | items %}{{ k }}={{ v | tojson if v is not boolean "
      "else v }}{{ ', ' if not loop.last }}{% endfor %})";
  const std::string json =
      "{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson }}}";
  return {
      {"functionary", own["functionary"], "<function="},
      {"hermes", own["hermes"], "<tool_call>\n{\"name\": \""},
      {"qwen2.5", own["qwen2.5"], "<tool_call>\n{\"name\": \""},
      {"llama-3", own["llama-3"], "{\"name\": \""},
      {"mistral", own["mistral"], "[TOOL_CALLS] [{"},
      {"granite", own["granite"], "{\"name\": \"", false},
      {"falcon-h1", own["falcon-h1"], "<tool_call>\n{\"name\": \"", false},
      {"qwen3-coder", template_of(tags), "<tool_call>\n<function="},
      {"nemotron 2", template_of(json, "<TOOLCALL>[", "]</TOOLCALL>"), "<TOOLCALL>[{\"name\": \""},
      {"granite 3", template_of(json, "<|tool_call|>[", "]"), "<|tool_call|>[{\"name\": \""},
      {"mistral, new", template_of("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}"),
       "[TOOL_CALLS]"},
      {"mistral, with ids",
       template_of("[TOOL_CALLS]{{ f.name }}[CALL_ID]{{ c.id }}[ARGS]{{ f.arguments | tojson }}"),
       "[TOOL_CALLS]"},
      {"lfm2", template_of(python, "<|tool_call_start|>[", "]<|tool_call_end|>"),
       "<|tool_call_start|>["},
      {"json in json", template_of("{{ c | tojson }}"), "{\"name\": \""},
      {"arguments as a text",
       template_of(
           "<tool_call>\n{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson "
           "| tojson }}}\n</tool_call>"),
       "", false},
  };
}

}  // namespace

TEST_CASE("a call that must be made is one in the template's own syntax", "[call_syntax]") {
  for (const Style& style : styles()) {
    Served served(style.source);
    CAPTURE(style.name);
    for (uint64_t seed = 0; seed < 6; ++seed) {
      // Any of them, then the one that is named.
      const Tools of =
          seed % 2 == 0 ? described_tools() : Tools(Json::array({described_tools().list()[0]}));
      const Served::Said said = served.call(of, seed);
      CAPTURE(seed, said.text, said.problem);
      CHECK(said.finish == Finish::kStop);
      CHECK(said.parts.content.empty());
      REQUIRE(said.parts.calls.size() == 1);
      const ToolCall& call = said.parts.calls[0];
      check_call(call);
      CHECK(said.text.rfind(style.begin, 0) == 0);
      if (!style.writes || style.name == "json in json") continue;
      // Identifiers are not the model's to choose: what stands behind the arguments of old ones is
      // left out.
      std::string text = without_space(said.text);
      if (style.name == "mistral") text.resize(text.size() - 2);
      const std::string written = without_space(served.written(call, of));
      CAPTURE(written);
      CHECK(written.find(text) != std::string::npos);
    }
  }
}

TEST_CASE("thoughts come before a call that must be made", "[call_syntax]") {
  Served served(
      template_of("<tool_call>\n{\"name\": \"{{ f.name }}\", \"arguments\": "
                  "{{ f.arguments | tojson }}}\n</tool_call>"));
  const Json variables = {{"thinking", true}};
  const ChatPrompt prompt =
      chat_prompt(*served.service, Json::array({{{"role", "user"}, {"content", "Rain?"}}}),
                  described_tools(), &variables);
  REQUIRE(prompt.thinking);
  Ask ask;
  constrain_to_call(*served.service, prompt.text, described_tools(), &variables, ask);
  REQUIRE_FALSE(ask.opening.empty());
  // The demo's model ends no thoughts: so they end with a word that it says.
  ask.ids = prompt.ids;
  ask.grammar_after = " the ";
  const Served::Said said = served.say(ask, false, described_tools());
  CAPTURE(said.text);
  const size_t at = said.text.find("<tool_call>\n{\"name\": \"");
  REQUIRE(at != std::string::npos);
  CHECK(said.text.find(" the") < at);
  REQUIRE(said.parts.calls.size() == 1);
  check_call(said.parts.calls[0]);
}

TEST_CASE("where a template writes no calls, prompt or vocabulary say how", "[call_syntax]") {
  Served served("{{ messages[0].content }}{{ tools }}");
  const auto call = [&](const CallSyntax& syntax, const Tools& of) {
    const CallGrammar grammar = grammar_of_call(syntax, of);
    Ask ask;
    ask.grammar = served.service->grammars.get(KLENS_GRAMMAR_GBNF, grammar.gbnf, "tools");
    ask.opening = tokens_of(*served.service, grammar.opening, false);
    ask.ids = tokens_of(*served.service, "Rain?", false);
    return served.say(ask, false, of);
  };
  const struct {
    std::string prompt, known, begin;
  } cases[] = {
      {"Write <TOOLCALL>[...]</TOOLCALL>", "<tool_call>", "<TOOLCALL>[{\"name\": \""},
      {"a <tool_call> of [TOOL_CALLS]", "", "[TOOL_CALLS][{\"name\": \""},
      {"nothing", "<|tool_call|>", "<|tool_call|>[{\"name\": \""},
      {"nothing", "<|tool_call_start|>", "<|tool_call_start|>["},
      {"nothing", "<|python_tag|>", "{\"name\": \""},
      {"nothing", "", "{\"name\": \""},
  };
  for (const auto& test : cases) {
    const Served::Said said = call(usual_syntax(test.prompt, {test.known}), described_tools());
    CAPTURE(test.prompt, test.known, said.text, said.problem);
    CHECK(said.text.rfind(test.begin, 0) == 0);
    REQUIRE(said.parts.calls.size() == 1);
    check_call(said.parts.calls[0]);
  }
  // What a syntax cannot hold is written as JSON.
  const Tools hard(Json::parse(R"([
    {"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {
      "b": {"type": "string", "pattern": "^[xy]{3}$"}}, "required": ["b"]}}}])"));
  const Tools odd(Json::parse(R"([
    {"type": "function", "function": {"name": "a \"b\" >", "parameters": {"type": "object",
      "properties": {"é (": {"type": "string", "enum": ["x\n\"y\""]}}, "required": ["é ("]}}}])"));
  for (const char* written :
       {"<tool_call>\n<function=klens_probe>\n<parameter=klens_key>\nklens_value"
        "\n</parameter>\n</function>\n</tool_call>",
        "<|tool_call_start|>[klens_probe(klens_key=\"klens_value\")]",
        "[TOOL_CALLS]klens_probe[ARGS]{\"klens_key\": \"klens_value\"}"}) {
    CAPTURE(written);
    const std::optional<CallSyntax> syntax = syntax_of(written);
    REQUIRE(syntax.has_value());
    const Served::Said one = call(*syntax, hard), two = call(*syntax, odd);
    CAPTURE(one.text, two.text, one.problem, two.problem);
    REQUIRE(one.parts.calls.size() == 1);
    const std::string b = one.parts.calls[0].arguments.value("b", "");
    CHECK((b.size() == 3 && b.find_first_not_of("xy") == std::string::npos));
    REQUIRE(two.parts.calls.size() == 1);
    CHECK(two.parts.calls[0].name == "a \"b\" >");
    CHECK(two.parts.calls[0].arguments == Json{{"é (", "x\n\"y\""}});
  }
  CHECK_FALSE(syntax_of("klens_probe").has_value());
  CHECK_FALSE(syntax_of("<tool_call>nothing").has_value());
  CHECK_FALSE(syntax_of("<tool_call>klens_probe klens_key klens_value").has_value());
}
