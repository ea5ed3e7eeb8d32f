#include "loaders/chat_template/chat_template.h"

#include <catch2/catch.hpp>
#include <ctime>
#include <fstream>
#include <string>

#include "base/error.h"

namespace klens {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string render(const std::string& source, const json& context = json::object()) {
  return ChatTemplate::parse(source, "t").render(context);
}

TEST_CASE("templates render as with Jinja", "[chat_template]") {
  std::ifstream in(std::string(KLENS_TEST_DATA) + "/chat_templates.json");
  REQUIRE(in);
  const ordered_json data = ordered_json::parse(in);
  REQUIRE(data["cases"].size() >= 550);
  for (const ordered_json& c : data["cases"]) {
    const std::string name = c["template"];
    const std::string source = data["templates"][name];
    const ordered_json& context =
        c["context"].is_string() ? data[c["context"].get<std::string>()] : c["context"];
    INFO(name << "\n" << source.substr(0, 2000) << "\n" << context.dump().substr(0, 500));
    if (c.contains("error")) {
      CHECK_THROWS_AS(ChatTemplate::parse(source, name).render_ordered(context), Error);
    } else {
      std::string got;
      CHECK_NOTHROW(got = ChatTemplate::parse(source, name).render_ordered(context));
      CHECK(got == c["expected"].get<std::string>());
    }
  }
}

TEST_CASE("messages name the template, the line and the cause", "[chat_template]") {
  const auto message = [](const std::string& source) -> std::string {
    try {
      render(source, {{"x", 1}});
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message("a\nb\n{{ nope.x }}") == "t:3: 'nope' is undefined");
  CHECK(message("\n{% include 'x' %}").find("t:2: the statement 'include'") == 0);
  CHECK(message("{{ 1 | frobnicate }}").find("'frobnicate'") != std::string::npos);
  CHECK(message("{% for y in [] %}\n{{ 1 is odder }}{% endfor %}").find("t:2: the test 'odder'") ==
        0);
  CHECK(message("{% if x %}\n{{ 1 is odder }}{% endif %}").find("t:2: the test 'odder'") == 0);
  CHECK(message("{% if x %}\n\n{{ x | from_json }}{% endif %}").find("t:3: the filter") == 0);
  CHECK(render("{% if x %}{{ 1 is odder }}{{ x | from_json }}{% endif %}ok", {{"x", 0}}) == "ok");
  CHECK(message("{% if x %}\n{% endfor %}").find("t:2: unexpected 'endfor'") == 0);
  CHECK(message("{{ raise_exception('Only one!') }}").find("Only one!") != std::string::npos);
  try {
    render("{{ raise_exception('no') }}");
    FAIL();
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::kBadArgument);
  }
}

TEST_CASE("lists can grow, dates can be asked for", "[chat_template]") {
  CHECK(render("{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}") == "[1, 2]");
  char year[8];
  const std::time_t now = std::time(nullptr);
  std::strftime(year, sizeof year, "%Y", std::localtime(&now));
  CHECK(render("{{ strftime_now('%Y') }}") == year);
  CHECK(render("{{ x }}", {{"x", "\xFF"}}) == "\uFFFD");
  CHECK_THROWS_AS(render("{{ x }}", json::array()), Error);
}

TEST_CASE("hostile templates end", "[chat_template]") {
  const std::string many(3000, '(');
  for (const std::string& source :
       {std::string(
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"),
        std::string("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"),
        std::string("{{ 'x' * 99999999999 }}"),
        std::string("{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99999) %}{% "
                    "set ns.s = ns.s ~ ns.s %}{% endfor %}"),
        std::string("{% set l = [1] %}{% set _ = l.append(l) %}{{ l }}"),
        std::string("{% set l = [1] %}{% set _ = l.append(l) %}{{ l == [l] }}{{ l|tojson }}"),
        std::string("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"),
        std::string("{% set l = [1] %}{% for i in l %}{% set _ = l.append(1) %}{% endfor %}{% for "
                    "a in range(99999) %}{% set _ = l.append(l * 9) %}{% endfor %}"),
        "{{ " + many + "1 }}", "{{ " + std::string(3000, '[') + "1 }}",
        "{{ " + std::string(5000, '-') + "1 }}",
        [] {
          std::string s;
          for (int i = 0; i < 3000; ++i) s += "{% if 1 %}";
          return s;
        }(),
        [] {
          std::string s = "{{ x";
          for (int i = 0; i < 3000; ++i) s += ".a";
          return s + " }}";
        }(),
        [] {
          std::string s = "{{ 1";
          for (int i = 0; i < 3000; ++i) s += " + 1";
          return s + " }}";
        }(),
        [] {
          std::string s = "{{ ";
          for (int i = 0; i < 3000; ++i) s += "not ";
          return s + "1 }}";
        }()}) {
    INFO(source.substr(0, 100));
    CHECK_THROWS_AS(render(source), Error);
  }
  CHECK(render("{% set l = [1] %}{% set _ = l.append(l) %}x") == "x");
  CHECK(render("{{ 9223372036854775807 }}") == "9223372036854775807");
  CHECK_THROWS_AS(render("{{ 9223372036854775807 + 1 }}"), Error);
  CHECK_THROWS_AS(render("{{ 9223372036854775808 }}"), Error);
}

}  // namespace
}  // namespace klens
