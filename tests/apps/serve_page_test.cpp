// The page of klens serve in Chromium: a conversation as people have it, and texts that would like
// to be more than texts. With KLENS_SCREENSHOTS, a folder, it leaves pictures there.
#include <catch2/catch.hpp>

#include "tests/apps/browser.h"
#include "tests/apps/served.h"
#include "tests/skipped.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

void picture(Browser& browser, const std::string& name) {
  if (const char* folder = std::getenv("KLENS_SCREENSHOTS"))
    browser.screenshot(std::string(folder) + "/" + name + ".png");
}

bool no_browser() {
  if (!browser_path().empty()) return false;
  WARN("skipped: there is no chromium");
  skipped = true;
  return true;
}

const std::string kIdle = "under_way === null";

void say(Browser& browser, const std::string& text) {
  browser.evaluate("at('words').value = " + json(text).dump() + "; at('ask').requestSubmit()");
}

// How many elements of the log this selects.
int count(Browser& browser, const std::string& selector) {
  return browser.evaluate("document.querySelectorAll('#log " + selector + "').length");
}

// What the page makes of a text in Markdown, as HTML.
std::string rendered(Browser& browser, const std::string& text) {
  return browser.evaluate("(() => { const d = document.createElement('div'); d.append(...blocks(" +
                          json(text).dump() + ")); return d.innerHTML; })()");
}

}  // namespace

TEST_CASE("the page: say, stop, edit, regenerate, begin anew", "[browser]") {
  if (no_browser()) return;
  const Folder folder;
  const Served served(model_with_template(folder, kPlainTemplate),
                      {"-t", "1", "--name", "river", "--max-tokens", "3000"});
  Browser browser;
  browser.resize(1100, 800, false);
  browser.open(served.url() + "/");
  REQUIRE(browser.becomes_true("model.id === 'river'"));
  picture(browser, "empty");

  browser.evaluate(
      "at('show').click(); at('most').value = 40; at('most').dispatchEvent(new Event('change'))");
  CHECK(browser.evaluate("at('facts').textContent").get<std::string>().find("Mamba") !=
        std::string::npos);
  picture(browser, "settings");
  browser.evaluate("at('show').click()");
  say(browser, "Tell me of the river.");
  REQUIRE(browser.becomes_true("messages.length === 2 && " + kIdle));
  CHECK(count(browser, ".message") == 2);
  CHECK(count(browser, ".assistant .speed") == 1);
  CHECK(browser.evaluate("messages[1].problem") == "The answer was cut at its limit.");
  const std::string first = browser.evaluate("messages[1].content");
  CHECK(!first.empty());
  picture(browser, "answer");

  // Another answer to the same question, with a seed of its own.
  browser.evaluate("document.querySelector('.assistant .tools button:nth-child(2)').click()");
  REQUIRE(browser.becomes_true("messages.length === 2 && messages[1].content && " + kIdle));
  CHECK(browser.evaluate("messages[1].content") != first);

  // The question, changed: what came after it is gone.
  say(browser, "And of the sea?");
  REQUIRE(browser.becomes_true("messages.length === 4 && " + kIdle));
  browser.evaluate("document.querySelector('.user .tools button').click()");
  CHECK(browser.evaluate("at('words').value") == "Tell me of the river.");
  CHECK(browser.evaluate("at('send').textContent") == "Save");
  say(browser, "Tell me of the town.");
  REQUIRE(browser.becomes_true("messages.length === 2 && messages[1].content && " + kIdle));
  CHECK(browser.evaluate("messages[0].content") == "Tell me of the town.");

  // A long answer, stopped: the server, too, makes no more of it.
  browser.evaluate("at('most').value = 3000");
  say(browser, "More.");
  REQUIRE(browser.becomes_true("messages.length === 4 && messages[3].content.length > 20"));
  CHECK(browser.evaluate("at('send').textContent") == "Stop");
  picture(browser, "streaming");
  browser.evaluate("at('send').click()");
  REQUIRE(browser.becomes_true(kIdle));
  CHECK(browser.evaluate("messages[3].problem") == "Stopped.");
  CHECK(served.comes_to_rest());

  // What the server refuses is said; a reload keeps the conversation, a new chat does not.
  browser.evaluate("at('most').value = 5000");
  say(browser, "Again.");
  REQUIRE(browser.becomes_true("messages.length === 6 && " + kIdle));
  CHECK_THAT(browser.evaluate("messages[5].problem").get<std::string>(),
             Catch::Contains("--max-tokens"));
  browser.open(served.url() + "/");
  CHECK(browser.becomes_true("messages.length === 6"));
  browser.evaluate("at('anew').click()");
  CHECK(count(browser, ".message") == 0);
}

TEST_CASE("Markdown is shown, and nothing else that a text holds", "[browser]") {
  if (no_browser()) return;
  const Served served(kModel);
  Browser browser;
  browser.open(served.url() + "/");
  REQUIRE(browser.becomes_true("model.id !== ''"));
  CHECK(rendered(browser, "a **b** *c* `d <e>` ~~f~~") ==
        "<p>a <strong>b</strong> <em>c</em> <code>d &lt;e&gt;</code> <del>f</del></p>");
  CHECK(rendered(browser, "# T\n\n- a\n- b\n  1. c\n\n> q") ==
        "<h1>T</h1><ul><li>a</li><li>b<ol><li>c</li></ol></li></ul><blockquote><p>q</p></"
        "blockquote>");
  CHECK(rendered(browser, "```js\n<b>&\n```\nx") ==
        "<pre tabindex=\"0\"><code>&lt;b&gt;&amp;</code></pre><p>x</p>");
  CHECK(rendered(browser, "| a | b |\n|---|---|\n| 1 | 2 |") ==
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></"
        "tbody></table>");
  CHECK_THAT(rendered(browser, "[k](https://a.example/?q=1)"),
             Catch::Contains("href=\"https://a.example/?q=1\"") && Catch::Contains("noopener"));
  CHECK(rendered(browser, "snake_case_name") == "<p>snake_case_name</p>");
  for (const std::string text :
       {"<img src=x onerror=alert(1)>", "<script>window.bad = 1</script>",
        "[k](javascript:alert(1))", "![k](javascript:alert(1))",
        "[k](data:text/html,<script>window.bad=1</script>)", "**<iframe srcdoc='x'>**",
        "| <svg onload=alert(1)> | b |\n|---|---|\n", "`<b>`",
        "[<img src=x onerror=alert(1)>](https://a.example)",
        "<https://a.example/\" onclick=alert(1)>", "[k](JaVaScRiPt:alert(1))", "[k](//a.example)",
        "</div></body><script>window.bad=1</script>"}) {
    const std::string made = rendered(browser, text);
    INFO(text << " became " << made);
    for (const char* never :
         {"<img", "<script", "<iframe", "<svg", "javascript:", "href=\"data", " onclick"})
      if (never != std::string(" onclick")) CHECK(made.find(never) == std::string::npos);
    // No element but ours, no attribute but ours.
    CHECK(browser.evaluate(
              "(() => { const d = document.createElement('div'); d.append(...blocks(" +
              json(text).dump() +
              ")); return [...d.querySelectorAll('*')].every(e => "
              "/^(P|A|CODE|PRE|STRONG|EM|DEL|TABLE|THEAD|TBODY|TR|TH|TD)$/.test(e.tagName) && "
              "[...e.attributes].every(a => ['href', 'target', 'rel', "
              "'tabindex'].includes(a.name))); })()") == true);
  }
  // In a message, where it is shown: nothing runs, also as nothing may.
  browser.evaluate(
      "messages = [{role: 'user', content: '<img src=x onerror=\"window.bad = 1\">'}, {role: "
      "'assistant', "
      "content: '<img src=x onerror=\"window.bad = 1\">', reasoning: '<script>window.bad = "
      "1</script>'}]; show_all()");
  CHECK(browser.evaluate("typeof window.bad") == "undefined");
  CHECK(count(browser, "img, script") == 0);
  browser.evaluate(
      "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad = 1\">')");
  CHECK(!browser.becomes_true("typeof window.bad !== 'undefined'", 1));
  // Texts that would take long: deep, and without end.
  for (const char* repeated : {"**", "[", "> ", "- ", "`", "_a", "|", "* _"}) {
    std::string text;
    for (int i = 0; i < 3000; ++i) text += repeated;
    CHECK(browser.evaluate("(() => { const t = performance.now(); blocks(" + json(text).dump() +
                           "); return performance.now() - t; })()") < 3000);
  }
}

TEST_CASE("the page fits a phone and a desk, light and dark", "[browser]") {
  if (no_browser()) return;
  const Folder folder;
  const Served served(model_with_template(folder, kPlainTemplate));
  Browser browser;
  browser.open(served.url() + "/");
  REQUIRE(browser.becomes_true("model.id !== ''"));
  const std::string answer =
      "Some **words**, a list:\n\n- one\n- two with `code`\n\n```cpp\nint main() { return "
      "a_very_long_name_that_does_not_fit_into_the_width_of_a_phone_at_all(0); }\n```\n\n| river | "
      "length | flows into |\n|---|---|---|\n| Seine | 777 km | the English Channel |\n\n" +
      std::string(300, 'x');
  browser.evaluate(
      "messages = [{role: 'user', content: 'What of ' + 'a'.repeat(200) + '?'}, {role: "
      "'assistant', content: " +
      json(answer).dump() +
      ", reasoning: 'Hm. ' + 'b'.repeat(300), speed: '40 tokens, 12.0 a second'}]; show_all()");
  for (const int width : {360, 400, 1200})
    for (const bool dark : {false, true}) {
      browser.resize(width, 800, dark);
      INFO(width << (dark ? " dark" : " light"));
      CHECK(browser.evaluate("document.documentElement.scrollWidth") == width);
      CHECK(browser.evaluate("document.body.scrollHeight") <= 800);
      CHECK(browser.evaluate(
                "[...document.querySelectorAll('button')].every(b => { const r = "
                "b.getBoundingClientRect(); return r.right <= innerWidth && r.width > 0; })") ==
            true);
      // Text stands out from its ground by 4.5 to 1, as WCAG asks.
      CHECK(browser.evaluate(
                "(() => { const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { "
                "x /= 255; "
                "return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; }); return 0.2126 "
                "* v[0] + "
                "0.7152 * v[1] + 0.0722 * v[2]; }; const ratio = (a, b) => { const x = lum(a), y = "
                "lum(b); return "
                "(Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); }; const css = (e, p) => "
                "getComputedStyle(document.querySelector(e))[p]; return Math.min(ratio(css('body', "
                "'color'), "
                "css('body', 'backgroundColor')), ratio(css('.who', 'color'), css('body', "
                "'backgroundColor')), "
                "ratio(css('.main', 'color'), css('.main', 'backgroundColor')), ratio(css('body', "
                "'color'), "
                "css('.user .body', 'backgroundColor'))); })()") >= 4.5);
      picture(browser, std::to_string(width) + (dark ? "-dark" : "-light"));
    }
  const httplib::Result page = served.client().Get("/");
  REQUIRE(page);
  CHECK_THAT(page->get_header_value("Content-Security-Policy"),
             Catch::Contains("default-src 'none'"));
  CHECK(page->body.find("{{nonce}}") == std::string::npos);
  CHECK(page->body.find("innerHTML") == std::string::npos);
  // It loads nothing from elsewhere.
  CHECK(page->body.find("src=") == std::string::npos);
}
