"""klens serve and clients that do what none should, over sockets of the standard library: nobody else notices. And many clients
at once, each of whose answers is the one it has alone: for KLENS_SERVE_SECONDS (60) in all. Run by ctest; by hand
KLENS_PROGRAM=build/release/apps/klens KLENS_DEMO_MODEL=apps/demo-model/wiki-mamba python3 tests/apps/serve_clients_test.py"""

import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

MODEL = os.environ["KLENS_DEMO_MODEL"]
HOST = b"Host: localhost\r\n"


class Served:
    def __init__(self, *options):
        command = [os.environ["KLENS_PROGRAM"], "serve", MODEL, "--port", "0", "--json", "-q", "-t", "1", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = ""
        while "}" not in said:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("klens serve did not start")
            said += line
        self.port = int(json.loads(said)["url"].rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, None if body is None else json.dumps(body), headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text, response

    def ask(self, body, path="/v1/completions"):
        status, text, _ = self.request("POST", path, body)
        if status != 200:
            raise RuntimeError(text)
        return json.loads(text)

    def metric(self, name):
        for line in self.request("GET", "/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise RuntimeError("there is no metric " + name)

    def comes_to_rest(self):
        for _ in range(1000):
            if self.metric("klens_answers_active") + self.metric("klens_answers_waiting") == 0:
                return True
            time.sleep(0.02)
        return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data):
        """What comes back until the server closes."""
        with self.connect() as client:
            try:
                client.sendall(data)
            except OSError:
                pass  # it has seen enough
            got = b""
            try:
                while part := client.recv(65536):
                    got += part
            except OSError:
                pass
            return got

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def post(body, path=b"/v1/completions", more=b""):
    body = json.dumps(body).encode()
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


ENDLESS = {"prompt": "The river", "max_tokens": 3000, "ignore_eos": True, "stream": True}


class HostileClients(unittest.TestCase):
    def test_what_is_no_request_is_refused(self):
        begin = b"POST /v1/completions HTTP/1.1\r\n" + HOST
        inner = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        evil = b"Origin: http://evil.example\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner
        cases = {
            b"\r\n\r\n": 400,
            b"nonsense\r\n\r\n": 400,
            b"GET / HTTP/9.9\r\n\r\n": 400,
            b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + HOST + b"\r\n": 414,
            b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n": 400,
            b"GET /health HTTP/1.1\r\n\r\n": 403,
            b"GET /health HTTP/1.1\r\nHost: rebound.example\r\n\r\n": 403,
            begin + b"Content-Length: 99999999999\r\n\r\n": 413,
            begin + b"Content-Length: -5\r\n\r\n": 400,
            begin + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}": 400,
            begin + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
            begin + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}": 415,
            b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nxxx": 404,
            b"DELETE /v1/models HTTP/1.1\r\n" + HOST + b"\r\n": 405,
            # What stands in the body of a refused request is not the next request.
            b"POST /v1/completions HTTP/1.1\r\n" + HOST + evil: 403,
            b"GET /v1/models HTTP/1.1\r\n" + HOST + evil: 403,
        }
        with Served() as served:
            for sent, status in cases.items():
                with self.subTest(sent[:100]):
                    got = served.raw(sent)
                    self.assertEqual(got[:12], b"HTTP/1.1 %d" % status)
                    self.assertEqual(got.count(b"HTTP/1.1"), 1)
                    self.assertIn(b'"error":{"message":', got)
            for body in [b"", b"[]", b'{"prompt": "\xff\xfe"}', b'{"prompt": "a"', b'{"prompt":' + b"[" * 100000]:
                with self.subTest(body[:20]):
                    got = served.raw(begin + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    self.assertEqual(got[:12], b"HTTP/1.1 400")
            # Headers and bodies without end.
            served.raw(b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 50) for i in range(200000)))
            served.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * (20 << 20))
            chunked = begin + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.assertEqual(served.raw(chunked + b'20\r\n{"prompt":"The","max_tokens": 1}\r\n0\r\n\r\n')[:12], b"HTTP/1.1 200")
            self.assertEqual(served.raw(chunked + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 100)[:12], b"HTTP/1.1 413")
            if "KLENS_SANITIZED" not in os.environ:  # sanitizers need memory of their own
                self.assertLess(served.resident_bytes(), 400 << 20)
            self.assertEqual(len(served.ask({"prompt": "The"})["choices"]), 1)

    def test_random_bytes(self):
        chance = random.Random(1)
        good = post({"prompt": "The", "max_tokens": 2})
        with Served() as served:
            for _ in range(300):
                data = bytearray(good)
                for _ in range(chance.randrange(1, 7)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                with served.connect() as client:
                    client.sendall(bytes(data[: chance.randrange(1, len(data))] if chance.randrange(3) == 0 else data))
            self.assertTrue(served.comes_to_rest())
            self.assertEqual(len(served.ask({"prompt": "The"})["choices"]), 1)

    def test_clients_that_vanish_read_slowly_or_say_nothing(self):
        with Served("--batch", "4") as served:
            for reset in (False, True):
                client = served.connect()
                client.sendall(post(ENDLESS))
                client.recv(64)
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            gone = served.connect()
            gone.sendall(post({**ENDLESS, "stream": False}))
            while served.metric("klens_answers_active") == 0:
                time.sleep(0.01)
            gone.close()
            self.assertTrue(served.comes_to_rest())
            self.assertGreaterEqual(served.metric("klens_cancelled_total"), 1)
            clients = [served.connect() for _ in range(22)]
            clients[0].sendall(post(ENDLESS)[:50])  # half a request
            clients[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            clients[1].sendall(post(ENDLESS))  # and never reads
            start = time.monotonic()
            for _ in range(5):
                served.ask({"prompt": "The", "max_tokens": 2})
            self.assertLess(time.monotonic() - start, 20)
            for client in clients:
                client.close()
            self.assertTrue(served.comes_to_rest())

    def test_a_full_queue(self):
        with Served("--batch", "1", "--queue", "1") as served:
            clients = []
            for _ in range(2):
                clients.append(served.connect())
                clients[-1].sendall(post(ENDLESS))
                while served.metric("klens_answers_active") + served.metric("klens_answers_waiting") < len(clients):
                    time.sleep(0.01)
            status, text, response = served.request("POST", "/v1/completions", {"prompt": "The"})
            self.assertEqual((status, json.loads(text)["error"]["type"]), (429, "rate_limit_error"))
            self.assertTrue(response.getheader("Retry-After"))
            for client in clients:
                client.close()
            self.assertTrue(served.comes_to_rest())
            self.assertEqual(served.metric("klens_cancelled_total"), 2)
            served.ask({"prompt": "The"})

    def test_a_key(self):
        with Served("--api-key", "secret") as served:
            for value, status in {"Bearer secret": 200, "": 401, "secret": 401, "Bearer secrets": 401, "Bearer secre": 401}.items():
                self.assertEqual(served.request("GET", "/v1/models", headers={"Authorization": value})[0], status)
            self.assertEqual(served.request("GET", "/health")[0], 200)
            self.assertEqual(served.request("GET", "/metrics")[0], 401)

    def test_sigterm_lets_answers_end(self):
        with Served() as served:
            idle = http.client.HTTPConnection("127.0.0.1", served.port)
            idle.request("GET", "/health")
            idle.getresponse().read()
            told = {}
            client = threading.Thread(target=lambda: told.update(served.ask({**ENDLESS, "stream": False, "max_tokens": 1000})))
            client.start()
            while served.metric("klens_answers_active") == 0:
                time.sleep(0.01)
            served.process.send_signal(signal.SIGTERM)
            self.assertEqual(served.process.wait(60), 0)
            client.join()
            idle.close()
            self.assertEqual(told["usage"]["completion_tokens"], 1000)


TEMPLATE = (
    "{%- if tools %}<tools>{{ tools | tojson }}</tools>{% endif -%}"
    "{%- for m in messages -%}<{{ m.role }}>{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}</{{ m.role }}>\n"
    "{% endfor -%}{%- if add_generation_prompt -%}<assistant>{% endif -%}"
)


def tool(name, parameters=None):
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object", "properties": {}}}}


class Contradictions(unittest.TestCase):
    """What a request asks for is done or refused in one line that names it."""

    def test_tools_and_formats(self):
        chat = {"messages": [{"role": "user", "content": "Rain?"}], "tools": [tool("now"), tool("rain")], "max_tokens": 2}
        flat = {"input": "Rain?", "tools": [{"type": "function", **tool("now")["function"]}], "max_output_tokens": 2}
        must = {"tool_choice": "required"}
        named = {"tool_choice": {"type": "function", "function": {"name": "now"}}}
        form = {"type": "json_object"}
        bad = tool("rain", {"type": "object", "properties": {"place": {"not": {"type": "string"}}}})
        cases = [
            (chat | must | {"response_format": form}, "response_format"),
            (chat | named | {"response_format": form}, "response_format"),
            (chat | must | {"grammar": 'root ::= "a"'}, "grammar"),
            (flat | must | {"text": {"format": form}}, "text.format"),
            (chat | {"tools": [tool("now"), tool("rain"), tool("now")]}, "two functions named now"),
            (chat | must | {"tools": [tool("now"), bad]}, "parameters of rain: /properties/place/not: cannot be enforced"),
            (chat | {"tools": [tool("rain", {"type": "string"})]}, "parameters of rain must be"),
        ]
        allowed = [chat | {"response_format": form}, chat | must | {"response_format": {"type": "text"}}, chat | must]
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
            template.write(TEMPLATE)
            template.flush()
            with Served("--chat-template", template.name) as served:
                for body, said in cases:
                    with self.subTest(said):
                        path = "/v1/responses" if "input" in body else "/v1/chat/completions"
                        status, text, _ = served.request("POST", path, body)
                        message = json.loads(text)["error"]["message"] if status == 400 else text
                        self.assertEqual(status, 400, text)
                        self.assertIn(said, message)
                        self.assertNotIn("\n", message)
                for body in allowed:
                    self.assertEqual(served.request("POST", "/v1/chat/completions", body)[0], 200)

    def test_a_key_that_stands_twice(self):
        begin = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: "
        with Served() as served:
            body = b'{"prompt": "The", "max_tokens": 1, "prompt": "A"}'
            got = served.raw(begin + b"%d\r\n\r\n" % len(body) + body)
            self.assertEqual(got[:12], b"HTTP/1.1 400")
            self.assertIn(b"twice in one object", got)


class Drafts(unittest.TestCase):
    def test_drafts_show_in_metrics_alone(self):
        body = {"prompt": "one two three four five six seven eight. " * 4, "max_tokens": 60, "temperature": 0, "logprobs": 1}
        with Served() as plain:
            wanted = plain.ask(body)["choices"]
            self.assertEqual(plain.metric("klens_drafted_tokens_total"), 0)
        with Served("--draft", "ngram", "--draft-tokens", "6") as served:
            self.assertEqual(served.ask(body)["choices"], wanted)
            accepted = served.metric("klens_accepted_drafts_total")
            self.assertGreater(accepted, 0)
            self.assertGreaterEqual(served.metric("klens_drafted_tokens_total"), accepted)

    def test_a_device_that_cannot_verify_them_is_refused_at_the_start(self):
        program = os.environ["KLENS_PROGRAM"]
        devices = json.loads(subprocess.run([program, "devices", "--json"], capture_output=True, check=True).stdout)
        rows = devices["devices"] if isinstance(devices, dict) else devices
        if not any(row["backend"].startswith("opencl") and row["best"] for row in rows):
            self.skipTest("there is no OpenCL device")
        made = subprocess.run([program, "serve", MODEL, "--port", "0", "--backend", "opencl", "--draft", "ngram", "-q"],
                              capture_output=True, text=True, timeout=600)
        self.assertEqual(made.returncode, 1)
        self.assertEqual(len(made.stderr.splitlines()), 1, made.stderr)
        self.assertIn("drafts", made.stderr)


class ManyClients(unittest.TestCase):
    def test_no_answer_is_lost_mixed_up_or_changed(self):
        chance = random.Random(1)
        questions = []
        for i in range(24):
            text = "" if i % 3 else "Once upon a time the river " * 60
            text += " ".join(f"word{chance.randrange(60)}" for _ in range(chance.randrange(3, 150)))
            questions.append({"prompt": text, "max_tokens": chance.randrange(1, 24), "seed": chance.randrange(99), "temperature": 1,
                              "n": 1 + i % 3, "logprobs": 0, "stop": ["the"] if i % 4 == 0 else []})
        with Served("--batch", "3", "--cache-memory", "0") as served:
            alone = [served.ask(question)["choices"] for question in questions]
        end = time.monotonic() + float(os.environ.get("KLENS_SERVE_SECONDS", "60"))
        answered, problems, sizes = [], [], []
        with Served("--batch", "16", "--queue", "400", "--cache-memory", "32M") as served:

            def client(seed):
                own = random.Random(seed)
                while time.monotonic() < end:
                    which = own.randrange(len(questions))
                    try:
                        same = served.ask(questions[which])["choices"] == alone[which]
                    except (OSError, RuntimeError, http.client.HTTPException) as error:
                        same = str(error)
                    (answered if same is True else problems).append(which if same is False else same)

            clients = [threading.Thread(target=client, args=(seed,)) for seed in range(64)]
            for one in clients:
                one.start()
            while time.monotonic() < end:
                time.sleep(max(0.1, (end - time.monotonic()) / 2))
                sizes.append(served.resident_bytes())
            for one in clients:
                one.join()
            self.assertEqual(problems, [])
            self.assertGreater(len(answered), 64)
            if "KLENS_SANITIZED" not in os.environ:
                self.assertLess(served.resident_bytes(), sizes[0] + (64 << 20))
            self.assertGreater(served.metric("klens_prefix_hits_total"), 0)
            self.assertTrue(served.comes_to_rest())
            print(f"{len(answered)} answers, each as alone; {sizes[0] >> 20} MiB half way, {served.resident_bytes() >> 20} in the end")


if __name__ == "__main__":
    unittest.main()
