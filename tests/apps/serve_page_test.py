"""The page of klens serve in Chromium, told what to do over its DevTools protocol: a conversation as people have it, and texts that
would like to be more than texts. Run by ctest, skipped without Chromium. With KLENS_SCREENSHOTS, a folder, it leaves pictures there."""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TEMPLATE = (
    "{%- for m in messages -%}<{{ m.role }}>{{ m.content }}</{{ m.role }}>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{% endif -%}"
)
IDLE = "under_way === null"


class Served:
    def __init__(self, folder):
        model = folder / "model"
        model.mkdir()
        for file in pathlib.Path(os.environ["KLENS_DEMO_MODEL"]).resolve().iterdir():
            (model / file.name).symlink_to(file)
        (model / "chat_template.jinja").write_text(TEMPLATE)
        self.process = subprocess.Popen([os.environ["KLENS_PROGRAM"], "serve", str(model), "--port", "0", "--json", "-q", "-t", "1",
                                         "--name", "river", "--max-tokens", "3000"], stdout=subprocess.PIPE, text=True)
        said = ""
        while "}" not in said:
            said += self.process.stdout.readline()
        self.url = json.loads(said)["url"] + "/"

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Browser:
    def __init__(self, folder):
        reads, self.to = os.pipe()
        self.from_, writes = os.pipe()

        def place():  # its ends are 3 and 4
            os.setpgid(0, 0)
            high_reads, high_writes = os.dup2(reads, 100), os.dup2(writes, 101)
            os.dup2(high_reads, 3)
            os.dup2(high_writes, 4)

        command = [CHROMIUM, "--headless=new", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
                   f"--user-data-dir={folder}/user"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
        self.process = subprocess.Popen(command, preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(reads)
        os.close(writes)
        self.last, self.held, self.session = 0, b"", None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def close(self):
        os.close(self.to)
        os.close(self.from_)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def call(self, method, **parameters):
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.held:
                part = os.read(self.from_, 1 << 16)
                if not part:
                    raise RuntimeError("the browser is gone")
                self.held += part
            text, self.held = self.held.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") != self.last:
                continue  # an event
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return answer["result"]

    def evaluate(self, expression):
        made = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in made:
            raise RuntimeError(json.dumps(made["exceptionDetails"]))
        return made["result"].get("value")

    def becomes_true(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while self.evaluate(expression) is not True:
            if time.monotonic() > end:
                return False
            time.sleep(0.03)
        return True

    def open(self, url):
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        if not self.becomes_true("location.href !== 'about:blank' && typeof model !== 'undefined' && model.id === 'river'"):
            raise RuntimeError(f"{url} does not load")

    def resize(self, width, height, dark):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, name):
        if folder := os.environ.get("KLENS_SCREENSHOTS"):
            data = self.call("Page.captureScreenshot", format="png")["data"]
            pathlib.Path(folder, name + ".png").write_bytes(base64.b64decode(data))

    def say(self, text):
        self.evaluate(f"at('words').value = {json.dumps(text)}; at('ask').requestSubmit()")

    def rendered(self, text):
        """What the page makes of a text in Markdown, as HTML."""
        return self.evaluate(f"(() => {{ const d = document.createElement('div'); d.append(...blocks({json.dumps(text)})); "
                             "return d.innerHTML; })()")


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.served = Served(pathlib.Path(folder.name))
        self.addCleanup(self.served.close)
        self.browser = Browser(folder.name)
        self.addCleanup(self.browser.close)
        self.browser.open(self.served.url)

    def test_say_stop_edit_regenerate_begin_anew(self):
        b = self.browser
        b.resize(1100, 800, False)
        b.evaluate("at('show').click(); at('most').value = 40")
        self.assertIn("Mamba", b.evaluate("at('facts').textContent"))
        b.picture("settings")
        b.evaluate("at('show').click()")
        b.say("Tell me of the river.")
        self.assertTrue(b.becomes_true("messages.length === 2 && " + IDLE))
        self.assertEqual(b.evaluate("document.querySelectorAll('#log .message').length"), 2)
        self.assertEqual(b.evaluate("document.querySelectorAll('#log .assistant .speed').length"), 1)
        first = b.evaluate("messages[1].content")
        self.assertTrue(first)
        b.picture("answer")
        # Another answer to the same question.
        b.evaluate("document.querySelector('.assistant .tools button:nth-child(2)').click()")
        self.assertTrue(b.becomes_true("messages.length === 2 && messages[1].content && " + IDLE))
        self.assertNotEqual(b.evaluate("messages[1].content"), first)
        # The question, changed: what came after it is gone.
        b.say("And of the sea?")
        self.assertTrue(b.becomes_true("messages.length === 4 && " + IDLE))
        b.evaluate("document.querySelector('.user .tools button').click()")
        self.assertEqual(b.evaluate("at('words').value"), "Tell me of the river.")
        self.assertEqual(b.evaluate("at('send').textContent"), "Save")
        b.say("Tell me of the town.")
        self.assertTrue(b.becomes_true("messages.length === 2 && messages[1].content && " + IDLE))
        self.assertEqual(b.evaluate("messages[0].content"), "Tell me of the town.")
        # A long answer, stopped.
        b.evaluate("at('most').value = 3000")
        b.say("More.")
        self.assertTrue(b.becomes_true("messages.length === 4 && messages[3].content.length > 20"))
        self.assertEqual(b.evaluate("at('send').textContent"), "Stop")
        b.picture("streaming")
        b.evaluate("at('send').click()")
        self.assertTrue(b.becomes_true(IDLE))
        self.assertEqual(b.evaluate("messages[3].problem"), "Stopped.")
        self.assertTrue(b.becomes_true("fetch('metrics').then(r => r.text()).then(t => t.includes('klens_answers_active 0'))"))
        # What the server refuses is said; a reload keeps the conversation, a new chat does not.
        b.evaluate("at('most').value = 5000")
        b.say("Again.")
        self.assertTrue(b.becomes_true("messages.length === 6 && " + IDLE))
        self.assertIn("--max-tokens", b.evaluate("messages[5].problem"))
        b.open(self.served.url + "?again")
        self.assertTrue(b.becomes_true("messages.length === 6"))
        b.evaluate("at('anew').click()")
        self.assertEqual(b.evaluate("document.querySelectorAll('#log .message').length"), 0)

    def test_markdown_is_shown_and_nothing_else(self):
        b = self.browser
        for text, html in {
            "a **b** *c* `d <e>` ~~f~~": "<p>a <strong>b</strong> <em>c</em> <code>d &lt;e&gt;</code> <del>f</del></p>",
            "# T\n\n- a\n- b\n  1. c\n\n> q": "<h1>T</h1><ul><li>a</li><li>b<ol><li>c</li></ol></li></ul><blockquote><p>q</p></blockquote>",
            "```js\n<b>&\n```\nx": '<pre tabindex="0"><code>&lt;b&gt;&amp;</code></pre><p>x</p>',
            "| a | b |\n|---|---|\n| 1 | 2 |": "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
            "snake_case_name": "<p>snake_case_name</p>",
        }.items():
            self.assertEqual(b.rendered(text).replace(' start="1"', ""), html)
        self.assertIn('href="https://a.example/?q=1"', b.rendered("[k](https://a.example/?q=1)"))
        plain = ("(() => { const d = document.createElement('div'); d.append(...blocks(%s)); return [...d.querySelectorAll('*')].every(e => "
                 "/^(P|A|CODE|PRE|STRONG|EM|DEL|TABLE|THEAD|TBODY|TR|TH|TD)$/.test(e.tagName) && [...e.attributes].every(a => "
                 "['target', 'rel', 'tabindex'].includes(a.name) || (a.name === 'href' && /^(https?|mailto):/.test(a.value)))); })()")
        for text in ["<img src=x onerror=alert(1)>", "<script>window.bad = 1</script>", "[k](javascript:alert(1))",
                     "![k](javascript:alert(1))", "[k](data:text/html,<script>window.bad=1</script>)", "**<iframe srcdoc='x'>**",
                     "| <svg onload=alert(1)> | b |\n|---|---|\n", "`<b>`", "[<img src=x onerror=alert(1)>](https://a.example)",
                     '<https://a.example/" onclick=alert(1)>', "[k](JaVaScRiPt:alert(1))", "[k](//a.example)"]:
            self.assertTrue(b.evaluate(plain % json.dumps(text)), text)
        # In a message, where it is shown: nothing runs, also as nothing may.
        bad = "<img src=x onerror=\"window.bad = 1\"><script>window.bad = 1</script>"
        b.evaluate(f"messages = [{{role: 'user', content: {json.dumps(bad)}}}, {{role: 'assistant', content: {json.dumps(bad)}, "
                   f"reasoning: {json.dumps(bad)}}}]; show_all()")
        self.assertEqual(b.evaluate("document.querySelectorAll('#log img, #log script').length"), 0)
        b.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad = 1\">')")
        self.assertFalse(b.becomes_true("typeof window.bad !== 'undefined'", 1))
        # Texts that would take long: deep, and without end.
        for repeated in ["**", "[", "> ", "- ", "`", "_a", "|", "* _"]:
            took = b.evaluate(f"(() => {{ const t = performance.now(); blocks({json.dumps(repeated * 3000)}); return performance.now() - t; }})()")
            self.assertLess(took, 5000, repeated)

    def test_it_fits_a_phone_and_a_desk_light_and_dark(self):
        b = self.browser
        answer = ("Some **words**, a list:\n\n- one\n- two with `code`\n\n```cpp\nint main() { return "
                  "a_very_long_name_that_does_not_fit_into_the_width_of_a_phone_at_all(0); }\n```\n\n| river | length | flows into |\n"
                  "|---|---|---|\n| Seine | 777 km | the English Channel |\n\n" + "x" * 300)
        b.evaluate("messages = [{role: 'user', content: 'What of ' + 'a'.repeat(200) + '?'}, {role: 'assistant', content: "
                   + json.dumps(answer) + ", reasoning: 'Hm. ' + 'b'.repeat(300), speed: '40 tokens, 12.0 a second'}]; show_all()")
        contrast = ("(() => { const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255; return x <= 0.03928 ? x / 12.92 "
                    ": ((x + 0.055) / 1.055) ** 2.4; }); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; }; const ratio = (a, b) => { "
                    "const x = lum(a), y = lum(b); return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); }; const css = (e, p) => "
                    "getComputedStyle(document.querySelector(e))[p]; return Math.min(ratio(css('body', 'color'), css('body', "
                    "'backgroundColor')), ratio(css('.who', 'color'), css('body', 'backgroundColor')), ratio(css('.main', 'color'), "
                    "css('.main', 'backgroundColor')), ratio(css('body', 'color'), css('.user .body', 'backgroundColor'))); })()")
        for width in (360, 400, 1200):
            for dark in (False, True):
                with self.subTest(width=width, dark=dark):
                    b.resize(width, 800, dark)
                    self.assertEqual(b.evaluate("document.documentElement.scrollWidth"), width)
                    self.assertLessEqual(b.evaluate("document.body.scrollHeight"), 800)
                    self.assertTrue(b.evaluate("[...document.querySelectorAll('button')].every(e => { const r = e.getBoundingClientRect(); "
                                               "return r.right <= innerWidth && r.width > 0; })"))
                    self.assertGreaterEqual(b.evaluate(contrast), 4.5)  # as WCAG asks
                    b.picture(f"{width}-{'dark' if dark else 'light'}")


if __name__ == "__main__":
    if CHROMIUM is None:
        print("skip: there is no chromium")
        sys.exit(77)
    unittest.main()
