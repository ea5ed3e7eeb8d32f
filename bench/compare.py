#!/usr/bin/env python3
"""klens against its peers in one run: the same shapes with random weights, equal or fewer bits, alternating, medians.

usage: bench/compare.py --work FOLDER --llama FOLDER [options]        bench/README.md says how to get the peers

Shapes and files are made in --work where they are missing (that needs torch and transformers) and stay there. Each engine
runs with every thread count of --threads and is shown with its best one. What is not installed, or cannot run a shape, is
said and left out. Prints a Markdown table per phase; --json keeps all samples.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

import llama_cpp
import openvino_peer
import shapes

HERE = os.path.dirname(os.path.abspath(__file__))
FORMATS = ["int4g64", "int8"]
DEFAULT_SHAPES = ["mamba-130m", "mamba2-130m", "mamba-1.4b", "mamba2-1.3b", "llama-1b", "zamba2-1.2b", "falcon-h1-0.5b"]


def note(text):
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    """A program that did not do what it was asked; the text is its last line."""


def run(command, env=None):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, check=False)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failed(f"{os.path.basename(command[0])}: {lines[-1]}")
    return done.stdout


class Klens:
    name = "klens"

    def __init__(self, program, work, isa):
        self.program, self.work = program, work
        self.env = {**os.environ, **({"KLENS_ISA": isa} if isa else {})}

    def file_of(self, shape, fmt):
        return os.path.join(self.work, f"{shape}-{fmt}.klens")

    def type_of(self, fmt):
        return fmt

    def prepare(self, shape, checkpoint, formats):
        for fmt in formats:
            if not os.path.exists(self.file_of(shape, fmt)):
                run([self.program, "quantize", checkpoint(), "-o", self.file_of(shape, fmt), "--uniform", fmt, "--no-measure", "-q"])

    def measure(self, shape, fmt, *how):
        return self.measure_file(self.file_of(shape, fmt), *how)

    def measure_file(self, path, prompt, gen, threads, repetitions):
        samples = {"prefill": {}, "decode": {}, "reports": {}}
        for count in threads:
            report = json.loads(run([self.program, "bench", path, "-p", str(prompt), "-n", str(gen), "-r",
                                     str(repetitions), "-t", str(count), "--json", "-q"], self.env))
            samples["prefill"][count], samples["decode"][count] = (test["samples"] for test in report["tests"])
            samples["reports"][count] = [report]
        return samples


def best_of(samples):
    """Thread count and median of the fastest; None without samples."""
    medians = {threads: statistics.median(values) for threads, values in samples.items()}
    return max(medians.items(), key=lambda item: item[1]) if medians else None


def checkpoint_of(work, shape):
    """A call that gives the checkpoint's folder, made when it is first asked for."""
    path = os.path.join(work, shape)

    def make():
        if not os.path.exists(path + "/model.safetensors"):
            note(f"{shape}: making a checkpoint")
            run([sys.executable, os.path.join(HERE, "shapes.py"), shape, work])
        return path
    return make


def measure_shape(shape, engines, args):
    """Samples by (engine, format), merged over the rounds."""
    able = []
    for engine in engines:
        try:
            engine.prepare(shape, checkpoint_of(args.work, shape), args.formats)
            able.append(engine)
        except Failed as failed:
            note(f"{shape}: without {engine.name}: {failed}")
    merged = {}
    for number in range(args.rounds):
        for fmt in args.formats:
            for engine in able:
                note(f"{shape}: round {number + 1} of {args.rounds}, {engine.name} {engine.type_of(fmt)}")
                try:
                    samples = engine.measure(shape, fmt, args.prompt, args.gen, args.threads, args.repetitions)
                except Failed as failed:
                    note(f"{shape}: without {engine.name}: {failed}")
                    able.remove(engine)
                    break
                into = merged.setdefault((engine.name, fmt), {})
                for kind, by_threads in samples.items():
                    for threads, values in by_threads.items():
                        into.setdefault(kind, {}).setdefault(threads, []).extend(values)
    return merged


def rows(results, engines, args):
    """One dictionary per shape, format and phase."""
    klens, peers = engines[0], engines[1:]
    for shape, merged in results.items():
        for fmt in args.formats:
            if ("klens", fmt) not in merged:
                continue
            ours = merged["klens", fmt]
            for phase in ("decode", "prefill"):
                threads, speed = best_of(ours[phase])
                reports = ours["reports"][threads]
                rate, peak = ("decode_gb_s", "read_gb_s") if phase == "decode" else ("prefill_gop_s", "integer_gop_s")
                row = {"shape": shape, "phase": phase, "format": fmt, "threads": threads, "tok_s": speed,
                       "bytes": os.path.getsize(klens.file_of(shape, fmt)), "weight_bytes": reports[0]["weight_bytes"],
                       "rate": statistics.median(r[rate] for r in reports), "peak": statistics.median(r[peak] for r in reports),
                       "share": statistics.median(r[rate] / r[peak] for r in reports), "peers": {}}
                for peer in peers:
                    theirs = merged.get((peer.name, fmt), {}).get(phase)
                    if theirs:
                        count, value = best_of(theirs)
                        row["peers"][peer.name] = {"type": peer.type_of(fmt), "threads": count, "tok_s": value,
                                                   "bytes": peer.bytes_of(shape, fmt), "ratio": speed / value}
                yield row


def table(phase, all_rows, peers, args):
    unit = "GB/s" if phase == "decode" else "GOP/s"
    title = f"{args.gen} tokens generated" if phase == "decode" else f"prompt of {args.prompt} tokens"
    lines = [f"### {phase}: {title}", "",
             "| shape | klens: format, MB | tok/s (threads) | " + " | ".join(f"{p.name}: format, MB | tok/s (threads) | klens is" for p in peers)
             + (" | " if peers else "") + f"{unit} | of the machine's |",
             "|---|---|---:|" + "---|---:|---:|" * len(peers) + "---:|---:|"]
    for row in (r for r in all_rows if r["phase"] == phase):
        cells = [row["shape"], f"{row['format']}, {row['bytes'] / 1e6:.0f}", f"{row['tok_s']:.1f} ({row['threads']})"]
        for peer in peers:
            other = row["peers"].get(peer.name)
            cells += [f"{other['type']}, {other['bytes'] / 1e6:.0f}", f"{other['tok_s']:.1f} ({other['threads']})",
                      f"**{other['ratio']:.2f} x**"] if other else ["-", "-", "-"]
        cells += [f"{row['rate']:.1f}", f"{100 * row['share']:.0f} % of {row['peak']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def find_engines(args):
    engines = [Klens(args.klens, args.work, args.isa)]
    if args.llama:
        engines.append(llama_cpp.LlamaCpp(args.llama, args.work, run))
    else:
        note("without llama.cpp: --llama is not given")
    if args.openvino:
        engines.append(openvino_peer.OpenVino(args.openvino, args.work, run))
    else:
        note("without OpenVINO: --openvino is not given")
    return engines


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", required=True, help="folder for checkpoints and model files; made when missing")
    ap.add_argument("--llama", help="folder that llama.cpp was built in")
    ap.add_argument("--openvino", metavar="PYTHON", help="Python that has optimum-intel and OpenVINO")
    ap.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    ap.add_argument("--shapes", default=",".join(DEFAULT_SHAPES), help="of " + ", ".join(shapes.SHAPES))
    ap.add_argument("--formats", default=",".join(FORMATS))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--repetitions", type=int, default=1, help="of each test in a round")
    ap.add_argument("--isa", help="KLENS_ISA for klens")
    ap.add_argument("--threads", default="1,2", help="counts to try")
    ap.add_argument("--prompt", type=int, default=512)
    ap.add_argument("--gen", type=int, default=64)
    ap.add_argument("--json", metavar="OUT")
    args = ap.parse_args()
    args.shapes, args.formats = args.shapes.split(","), args.formats.split(",")
    args.threads = [int(t) for t in args.threads.split(",")]
    for shape in args.shapes:
        if shape not in shapes.SHAPES:
            ap.error(f"--shapes: {shape} is not one of {', '.join(shapes.SHAPES)}")
    os.makedirs(args.work, exist_ok=True)

    engines = find_engines(args)
    results = {shape: measure_shape(shape, engines, args) for shape in args.shapes}
    all_rows = list(rows(results, engines, args))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump({"rows": all_rows,
                       "samples": {s: {" ".join(k): v for k, v in merged.items()} for s, merged in results.items()}}, out, indent=1)
    print("\n\n".join(table(phase, all_rows, engines[1:], args) for phase in ("decode", "prefill")))


if __name__ == "__main__":
    main()
