#!/usr/bin/env python3
"""A real model in llama.cpp's types, and by klens at no more bytes: size, KL divergence and speed, in one table.

usage: bench/real_model.py MODEL-F16.gguf --work FOLDER --llama LLAMA_BUILD --calibration wiki.calibration.txt \\
           --text wiki.test.raw [--types IQ4_XS,Q4_K_M] [--bpw 4.3,4.7] [--uniform int4ag32,int8g32]

llama.cpp gets an importance matrix of the calibration text, klens its inputs and its profile; both are judged on the first
--bytes of the other text, in windows of 512 tokens. "own KL" is llama.cpp's: its engine, the second half of each window,
logarithms in 16 bits (the row F16 shows what that costs). "KL" is `klens compare` with the FP16 model, every position; it
runs llama.cpp's files in the integers they hold, so that column has one yardstick. Speed: a prompt and a generation, the
engines in turn, medians.

Every result is a file in --work and is not made again: an interrupted run goes on where it was. After a change of klens,
remove what is its (*.klens*, *.json); another model or text wants another folder. The klens half is `planned`, below.
"""
import argparse
import fcntl
import json
import os
import re
import statistics
import sys

import llama_cpp
from compare import Failed, Klens, note, run

HERE = os.path.dirname(os.path.abspath(__file__))
WINDOW = "512"  # tokens that KL is measured in
PROMPT, GEN = 512, 64  # tokens of a speed test


class Work:
    """The folder, with each step that makes a file in it."""

    def __init__(self, args):
        self.args, self.threads = args, str(args.threads)
        self.llama = llama_cpp.LlamaCpp(args.llama, args.work, run)
        self.klens = Klens(args.klens, args.work, args.isa)
        os.makedirs(args.work, exist_ok=True)
        self.lock = os.open(args.work, os.O_RDONLY)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two runs would mix two engines' files
        except BlockingIOError:
            sys.exit(f"{args.work}: another run is at work there")
        with open(args.text, "rb") as file:
            text = file.read(args.bytes)
        # What every file here depends on.
        about = f"{args.model} {os.path.getsize(args.model)}\n{args.calibration}\n{args.text} {len(text)}\n".encode()
        with open(self.cached("about.txt", lambda part: write(part, about)), "rb") as file:
            if file.read() != about:
                sys.exit(f"{args.work}: is of another model, text or calibration text (about.txt says which)")
        self.text = self.cached("text.txt", lambda part: write(part, text))

    def cached(self, name, make):
        """The path of a file of that name; where it is missing, make(path of a file beside it) writes it."""
        path, part = (os.path.join(self.args.work, prefix + name) for prefix in ("", "part-"))
        if not os.path.exists(path):
            note(name)
            make(part)
            os.rename(part, path)
        return path

    def llama_run(self, program, *words):
        return run([f"{self.llama.bin}/llama-{program}", *words])

    def peer_file(self, kind):
        imatrix = self.cached("imatrix.gguf", lambda part: self.llama_run(
            "imatrix", "-m", self.args.model, "-f", self.args.calibration, "-o", part, "-c", WINDOW, "-t", self.threads))
        return self.cached(kind + ".gguf", lambda part: self.llama_run(
            "quantize", "--imatrix", imatrix, self.args.model, part, kind, self.threads))

    def peer_kl(self, path):
        """Its own --kl-divergence."""
        common = ["-f", self.text, "-c", WINDOW, "-t", self.threads]
        base = self.cached("base.kld", lambda part: self.llama_run(
            "perplexity", "-m", self.args.model, *common, "--kl-divergence-base", part))
        log = self.cached(os.path.basename(path) + ".own-kl.txt", lambda part: write(part, self.llama_run(
            "perplexity", "-m", path, *common, "--kl-divergence-base", base, "--kl-divergence")))
        with open(log, "rb") as file:
            return float(re.search(rb"Mean +KLD: *(\S+)", file.read())[1])

    def planned(self, name, *budget):
        """The best file within a budget. The profile is measured once; each budget is a plan from it."""
        def profile(part):
            resume = ["--resume"] if os.path.exists(part + ".partial") else []
            run([self.args.klens, "profile", self.args.model, "-o", part, "-f", self.args.calibration, "-t", self.threads, "-q",
                 "--windows", str(self.args.windows), *resume])
        measured = self.cached("profile.json", profile)
        plan = self.cached(name + ".plan.json", lambda part: run([self.args.klens, "plan", measured, *budget, "-o", part]))
        return self.baked(name, "--plan", plan)

    def baked(self, name, *aim):
        return self.cached(name + ".klens", lambda part: run(
            [self.args.klens, "quantize", self.args.model, "-o", part, *aim, "-f", self.args.calibration, "--windows",
             str(self.args.windows), "--no-measure", "-t", self.threads, "-q"]))

    def kl(self, path):
        report = self.cached(os.path.basename(path) + ".kl.json", lambda part: write(part, run(
            [self.args.klens, "compare", self.args.model, path, "-f", self.text, "-c", WINDOW, "-t", self.threads, "--json", "-q"])))
        with open(report, encoding="utf-8") as file:
            return json.load(file)["kl"]

    def speed(self, engine, path, number):
        """{"prefill": tok/s, "decode": tok/s} of one round."""
        def measure(part):
            samples = engine.measure_file(path, PROMPT, GEN, [self.args.threads], 1)
            write(part, json.dumps({phase: samples[phase][self.args.threads][0] for phase in ("prefill", "decode")}).encode())
        name = f"{os.path.basename(path)}.{engine.name}{'-' + self.args.isa if self.args.isa else ''}.{number}.speed.json"
        with open(self.cached(name, measure), encoding="utf-8") as file:
            return json.load(file)


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def attempt(title, make):
    try:
        return make()
    except Failed as failed:
        note(f"without {title}: {failed}")
        return None


def files_of(work, args):
    """Pairs (title, llama.cpp's file, klens's), and titles and files of klens alone. What fails is said and left out."""
    pairs = [("F16", args.model, args.model)]  # both run the file itself
    for kind in args.types:
        peer = attempt(kind, lambda: work.peer_file(kind))
        if peer:
            size = str(os.path.getsize(peer))
            pairs.append((kind, peer, None if args.no_plans else attempt(
                f"klens at the bytes of {kind}", lambda: work.planned("size-" + kind, "--size", size))))
    alone = [(f"{bpw} bpw", attempt(f"{bpw} bpw", lambda: work.planned("bpw-" + bpw, "--bpw", bpw))) for bpw in args.bpw]
    alone += [(name, attempt(name, lambda: work.baked(name, "--uniform", name))) for name in args.uniform]
    return pairs, [(title, path) for title, path in alone if path]


def speeds(work, pairs, alone, rounds):
    """Medians by (engine, file): each round takes every file once, a pair's one after the other."""
    order = [(engine, path) for _, peer, ours in pairs for engine, path in ((work.llama, peer), (work.klens, ours)) if path]
    samples, order = {}, order + [(work.klens, path) for _, path in alone]
    for number in range(1, rounds + 1):
        for engine, path in order:
            found = attempt(f"{engine.name}'s speed of {path}", lambda: work.speed(engine, path, number))
            if found:
                samples.setdefault((engine.name, path), []).append(found)
    return {key: {phase: statistics.median(one[phase] for one in found) for phase in found[0]} for key, found in samples.items()}


def table(header, rows):
    """Markdown; None is a dash."""
    def text(cell):
        return "-" if cell is None else cell if isinstance(cell, str) else f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *([text(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ratio(ours, theirs):
    return f"**{ours / theirs:.2f}**" if ours is not None and theirs else None


def report(work, pairs, alone, args):
    speed = speeds(work, pairs, alone, args.rounds)

    def cells(engine, path):
        """bytes, KL, decode, prefill"""
        if not path:
            return [None] * 4
        kl = 0.0 if path == args.model else attempt("KL of " + path, lambda: work.kl(path))
        found = speed.get((engine.name, path), {})
        return [os.path.getsize(path), kl, found.get("decode"), found.get("prefill")]

    rows = []
    for title, peer, ours in pairs:
        own = attempt("own KL of " + title, lambda: work.peer_kl(peer))
        theirs, klens = cells(work.llama, peer), cells(work.klens, ours)
        rows.append([title, theirs[0], own, *theirs[1:], *klens, *(ratio(a, b) for a, b in zip(klens[1:], theirs[1:]))])
    print(table(["llama.cpp", "bytes", "own KL", "KL", "decode tok/s", "prefill tok/s", "klens: bytes", "KL", "decode tok/s",
                 "prefill tok/s", "KL ratio", "decode", "prefill"], rows))
    if alone:
        print("\n" + table(["klens", "bytes", "KL", "decode tok/s", "prefill tok/s"],
                           [[title, *cells(work.klens, path)] for title, path in alone]))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", help="an FP16 GGUF")
    ap.add_argument("--work", required=True, help="folder for all that is made; one per model and text")
    ap.add_argument("--llama", required=True, help="folder that llama.cpp was built in")
    ap.add_argument("--calibration", required=True, metavar="TEXT")
    ap.add_argument("--text", required=True, help="what all are judged on")
    ap.add_argument("--windows", type=int, default=8, help="of klens's profile")
    ap.add_argument("--bytes", type=int, default=60000, help="of --text")
    ap.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    ap.add_argument("--isa", help="KLENS_ISA for klens's speed; --llama is then a build for the same")
    ap.add_argument("--types", default="IQ4_XS,Q4_K_M,Q5_K_M,Q6_K,Q8_0", help="of llama.cpp")
    ap.add_argument("--bpw", default="", help="budgets for klens alone")
    ap.add_argument("--uniform", default="", help="formats for klens, each for all matrices")
    ap.add_argument("--no-plans", action="store_true", help="nothing from klens at the bytes of llama.cpp's files: no profile")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--rounds", type=int, default=3)
    args = ap.parse_args()
    args.types, args.bpw, args.uniform = ([part for part in given.split(",") if part] for given in (args.types, args.bpw, args.uniform))
    work = Work(args)
    report(work, *files_of(work, args), args)


if __name__ == "__main__":
    main()
