// Answers of chats taken apart: thoughts, text, calls of tools in every style, whole and in pieces.
#include "apps/serve/answer_parser.h"

#include <catch2/catch.hpp>
#include <random>

using namespace klens::apps;

namespace {

const Tools& weather_tools() {
  static const Tools kTools(Json::parse(R"([
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
      "properties": {"place": {"type": "string"}, "days": {"type": "integer"},
                     "units": {"type": "object"}}}}},
    {"type": "function", "function": {"name": "now"}}])"));
  return kTools;
}

struct Told {
  std::string reasoning, content;
  Json calls = Json::array();
  bool operator==(const Told&) const = default;
};

void add(Told& told, const AnswerParts& parts) {
  told.reasoning += parts.reasoning;
  told.content += parts.content;
  for (const ToolCall& call : parts.calls) told.calls.push_back({call.name, call.arguments});
}

Told parse(const std::string& text, size_t piece, bool thinking, const Tools* known) {
  AnswerParser parser(thinking, known);
  Told told;
  for (size_t at = 0; at < text.size(); at += piece)
    add(told, parser.push(std::string_view(text).substr(at, piece)));
  add(told, parser.finish());
  CHECK(parser.called() == !told.calls.empty());
  return told;
}

// The same however it comes.
Told told_of(const std::string& text, bool thinking = false,
             const Tools* known = &weather_tools()) {
  INFO(text);
  const Told whole = parse(text, std::max<size_t>(text.size(), 1), thinking, known);
  for (const size_t piece : {1, 2, 3, 7}) CHECK(parse(text, piece, thinking, known) == whole);
  return whole;
}

const Json kParis = Json::parse(R"([["get_weather", {"place": "Paris", "days": 3}]])");
const Json kTwo = Json::parse(R"([["get_weather", {"place": "Paris", "days": 3}], ["now", {}]])");

}  // namespace

TEST_CASE("thoughts are apart from the answer", "[parser]") {
  CHECK(told_of("Hello") == Told{"", "Hello", Json::array()});
  CHECK(told_of("") == Told{"", "", Json::array()});
  CHECK(told_of("<think>\nHm.\n</think>\n\nYes.\n") == Told{"Hm.", "Yes.\n", Json::array()});
  CHECK(told_of("  <think>Hm. ") == Told{"Hm.", "", Json::array()});
  CHECK(told_of("[THINK]Hm.[/THINK]Yes.") == Told{"Hm.", "Yes.", Json::array()});
  CHECK(told_of("[THINK]a </think> b[/THINK]c") == Told{"a </think> b", "c", Json::array()});
  CHECK(told_of("\nHm.\n</think>\nYes.", true) == Told{"Hm.", "Yes.", Json::array()});
  CHECK(told_of("Hm.", true) == Told{"Hm.", "", Json::array()});
  CHECK(told_of("a < b and <thing>") == Told{"", "a < b and <thing>", Json::array()});
  CHECK(told_of("<thin") == Told{"", "<thin", Json::array()});
  CHECK(told_of("say <think> aloud") == Told{"", "say <think> aloud", Json::array()});
  CHECK(end_of_thoughts("<|im_start|>assistant\n<think>\n") == "</think>");
  CHECK(end_of_thoughts("<think>\n\n</think>\n\n").empty());
}

TEST_CASE("calls of tools in the style of every model", "[parser]") {
  for (const char* text : {
           // Hermes, Qwen
           "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"place\": \"Paris\", "
           "\"days\": 3}}\n</tool_call>",
           // without the end, which is a stop token of some
           "<tool_call>{\"name\":\"get_weather\",\"arguments\":{\"place\":\"Paris\",\"days\":3}}",
           // arguments as JSON within JSON
           "<tool_call>{\"name\":\"get_weather\",\"arguments\":\"{\\\"place\\\":\\\"Paris\\\","
           "\\\"days\\\":3}\"}</tool_call>",
           // Qwen3-Coder, Qwen3.5, Nemotron 3
           "<tool_call>\n<function=get_weather>\n<parameter=place>\nParis\n</parameter>\n"
           "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
           "<function=get_weather>\n<parameter=place>\nParis\n</parameter>\n<parameter=days>\n3\n"
           "</parameter>\n</function>",
           // Nemotron 2
           "<TOOLCALL>[{\"name\": \"get_weather\", \"arguments\": {\"place\": \"Paris\", \"days\": "
           "3}}]</TOOLCALL>",
           // Granite 3
           "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": {\"place\": \"Paris\", "
           "\"days\": 3}}]",
           // Mistral, old and new
           "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"place\": \"Paris\", "
           "\"days\": 3}}]",
           "[TOOL_CALLS]get_weather[ARGS]{\"place\": \"Paris\", \"days\": 3}",
           "[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{\"place\": \"Paris\", \"days\": 3}",
           "[TOOL_CALLS]get_weather{\"place\": \"Paris\", \"days\": 3}",
           // Llama 3
           "{\"name\": \"get_weather\", \"parameters\": {\"place\": \"Paris\", \"days\": 3}}",
           "{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"place\": "
           "\"Paris\", \"days\": 3}}",
           "<|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"place\": \"Paris\", "
           "\"days\": 3}}",
           "<|python_tag|>get_weather.call(place=\"Paris\", days=3)",
           "<function=get_weather>{\"place\": \"Paris\", \"days\": 3}</function>",
           // LFM2
           "<|tool_call_start|>[get_weather(place='Paris', days=3)]<|tool_call_end|>",
       })
    CHECK(told_of(text) == Told{"", "", kParis});
}

TEST_CASE("several calls, with text and thoughts around them", "[parser]") {
  const std::string paris =
      "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"place\": \"Paris\", \"days\": "
      "3}}\n</tool_call>";
  const std::string now = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
  CHECK(told_of(paris + "\n" + now) == Told{"", "", kTwo});
  CHECK(told_of("<think>\nHm.\n</think>\n\nI look.\n\n" + paris + "\n" + now + "\nDone.") ==
        Told{"Hm.", "I look.Done.", kTwo});
  CHECK(told_of("<TOOLCALL>[{\"name\": \"get_weather\", \"arguments\": {\"place\": \"Paris\", "
                "\"days\": 3}}, {\"name\": \"now\"}]</TOOLCALL>") == Told{"", "", kTwo});
  CHECK(told_of("[TOOL_CALLS]get_weather[ARGS]{\"place\": \"Paris\", \"days\": 3}[TOOL_CALLS]now"
                "[ARGS]{}") == Told{"", "", kTwo});
  CHECK(told_of("{\"name\": \"get_weather\", \"parameters\": {\"place\": \"Paris\", \"days\": 3}}; "
                "{\"name\": \"now\", \"parameters\": {}}") == Told{"", "", kTwo});
  CHECK(told_of(
            "<|tool_call_start|>[get_weather(place=\"Paris\", days=3), now()]<|tool_call_end|>") ==
        Told{"", "", kTwo});
  // The end of a call within a text of it.
  const Told tricky = told_of(
      "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"place\": \"a </tool_call> b\"}}"
      "</tool_call>");
  CHECK(tricky.calls[0][1]["place"] == "a </tool_call> b");
  for (const char* within : {"a </function> b", "</function>", "</tool_call> </function>"}) {
    const std::string function = std::string("<function=get_weather>\n<parameter=place>\n") +
                                 within + "\n</parameter>\n</function>";
    for (const std::string& text : {function, "<tool_call>\n" + function + "\n</tool_call>"})
      CHECK(told_of(text).calls ==
            Json::parse(R"([["get_weather", {}]])")
                .patch(Json::array({{{"op", "add"}, {"path", "/0/1/place"}, {"value", within}}})));
  }
  // Values of functions are what they are declared to be.
  const Told typed = told_of(
      "<tool_call><function=get_weather><parameter=place>\n3\n</parameter><parameter=units>\n"
      "{\"t\": [\"C\", "
      "null]}\n</parameter><parameter=more>True</parameter></function></tool_call>");
  CHECK(typed.calls[0][1] ==
        Json::parse(R"({"place": "3", "units": {"t": ["C", null]}, "more": true})"));
}

TEST_CASE("what is no call is text, and nothing is lost", "[parser]") {
  for (const std::string text : {
           "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
           "<tool_call>not JSON</tool_call>",
           "<tool_call>",
           "<tool_call>\n<function=get_weather><parameter=",
           // cut short
           "<tool_call>\n<function=get_weather>",
           "<tool_call>\n<function=get_weather>\n<parameter=place>\nPar",
           "<function=get_weather>\n<parameter=place>\nParis\n</parameter>\n",
           "<function=get_weather>\n<parameter=place>\nParis\n</function>",
           "<TOOLCALL>[1, 2]</TOOLCALL> and more",
           "[TOOL_CALLS]get_weather[ARGS]{\"place\": ",
           "<|python_tag|>print(3)",
           "{\"name\": \"Paris\", \"size\": 3}",
           "{\"name\": \"get_weather\", \"parameters\": 3}",
           "{\"place\": 3} {",
           "<|tool_call_start|>[get_weather(place=open('x'))]<|tool_call_end|>",
           "<function=get_weather",
           "a <tool_cal",
           "a \n\n<tool_call>b</tool_call> \n",
       })
    CHECK(told_of(text) == Told{"", text, Json::array()});
  // Without tools nothing is a call.
  const std::string call = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
  CHECK(told_of(call, false, nullptr) == Told{"", call, Json::array()});
  // Far down, and without end.
  const std::string deep(100000, '[');
  CHECK(told_of("<TOOLCALL>" + deep).content == "<TOOLCALL>" + deep);
  CHECK(parse("<|tool_call_start|>[now(a=" + deep, 100000, false, &weather_tools()).calls.empty());
}

TEST_CASE("tools must be functions with names", "[parser]") {
  for (const char* list :
       {"[1]", "[{}]", R"([{"type": "retrieval"}])", R"([{"type": "function", "function": {}}])",
        R"([{"type": "function", "function": {"name": 3}}])",
        R"([{"type": "function", "function": {"name": "a", "parameters": 3}}])",
        R"([{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}])"})
    CHECK_THROWS_AS(Tools(Json::parse(list)), ApiError);
}
