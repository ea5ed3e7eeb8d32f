#!/usr/bin/env python3
"""Servers with OpenAI's API under load, in one run: tokens per second of 1, 8 and 32 clients, and the time to the first token of a prompt
that begins with what was read before.

usage: bench/serve.py --server NAME=COMMAND [--server NAME=COMMAND ...] [options]

COMMAND starts a server; {port} in it becomes a port that is free. For klens and llama.cpp's:

  bench/serve.py --server 'klens=build/release/apps/klens serve mamba-130m.klens --port {port} --batch 32 -q' \\
                 --server 'llama.cpp=llama-server -m mamba-130m.gguf --port {port} -np 32 -c 131072'

llama.cpp's converter gives a checkpoint without a tokenizer GPT-NeoX's, so the GGUF is made of bench/shapes.py's folder before
tokenizer.json (SHARED/tokenizers/gpt-neox-20b) is put into it for klens.

One server runs at a time, and they take turns. All get the same prompts, with as many tokens to make, whatever ends a text. Prints a
Markdown table of medians; --json keeps all samples.
"""
import argparse
import concurrent.futures
import http.client
import json
import shlex
import socket
import statistics
import subprocess
import sys
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, command):
        self.port = free_port()
        self.process = subprocess.Popen(shlex.split(command.replace("{port}", str(self.port))), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.__exit__()
        sys.exit("a server did not start: try its command by hand")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, prompt, tokens):
        """(seconds to the first token, seconds, tokens)"""
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True,
                "stream_options": {"include_usage": True}}
        start, first, made = time.perf_counter(), None, 0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"a server answered {response.status}: {response.read()[:300]!r}")
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if event["choices"] and first is None:
                first = time.perf_counter() - start
            if event.get("usage"):
                made = event["usage"]["completion_tokens"]
        return first, time.perf_counter() - start, made


def words(seed, count):
    """Text that no other seed shares."""
    return " ".join(f"{'river town sea boat net spring sun men'.split()[(seed * 7 + i * i) % 8]} {seed * 1000 + i}" for i in range(count))


def throughput(server, clients, tokens, seed):
    prompts = [words(seed * 100 + i, 12) for i in range(clients)]
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        made = sum(result[2] for result in pool.map(lambda prompt: server.ask(prompt, tokens), prompts))
    return made / (time.perf_counter() - start)


def first_tokens(server, seed, shared_words):
    shared = words(9000 + seed, shared_words)
    cold = server.ask(shared + " What of the first?", 1)[0]
    server.ask(shared + " And what of the second?", 1)
    return cold, server.ask(shared + " Then what of the third?", 1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", required=True, metavar="NAME=COMMAND")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--shared-words", type=int, default=450, help="of the prompt that is read before: some 2,000 tokens")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", help="a file for all samples")
    args = parser.parse_args()
    clients = [int(count) for count in args.clients.split(",")]
    samples = {}
    for repetition in range(args.repetitions):
        for named in args.server:
            name, command = named.split("=", 1)
            print(f"{name}, {repetition + 1} of {args.repetitions}", file=sys.stderr)
            of = samples.setdefault(name, {})
            with Server(command) as server:
                server.ask("The river", 8)
                for count in clients:
                    of.setdefault(f"{count} clients, tok/s", []).append(throughput(server, count, args.tokens, repetition * 40 + count))
                cold, warm = first_tokens(server, repetition, args.shared_words)
                of.setdefault("first token, cold, s", []).append(cold)
                of.setdefault("first token, shared, s", []).append(warm)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(samples, file, indent=1)
    print("| | " + " | ".join(samples) + " |\n|---|" + "---|" * len(samples))
    for row in next(iter(samples.values())):
        print(f"| {row} | " + " | ".join(f"{statistics.median(of[row]):.3g}" for of in samples.values()) + " |")


if __name__ == "__main__":
    main()
