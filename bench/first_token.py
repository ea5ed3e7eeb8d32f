#!/usr/bin/env python3
"""The first token of a mapped model against reading the file's pages: both as whole processes, in turn, medians.

usage: bench/first_token.py MODEL.klens [--threads 2] [--rounds 15] [--build build/release]
klens_bench_read_pages maps the file and reads a word of each cache line, once with as many threads and once with one.
"result": until the token (or the reader's sum) is printed; "end": until the process, which unmaps the file, is gone.
Page faults tell in how large pieces the kernel holds the file: 4 KiB after small writes, up to 2 MiB after a read from disk.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def measure(command):
    """Seconds until the command prints something, seconds until it has ended, its page faults, peak resident bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    os.read(process.stdout.fileno(), 1)
    printed = time.perf_counter()
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.perf_counter()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed")
    return printed - start, ended - start, usage.ru_minflt + usage.ru_majflt, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--build", default="build/release")
    args = parser.parse_args()
    threads = str(args.threads)
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as ids:
        ids.write("5\n")
        ids.flush()
        reader = [args.build + "/bench/klens_bench_read_pages", args.model]
        commands = {"klens generate -n 1": [args.build + "/apps/klens", "generate", args.model, "--ids", ids.name, "-n", "1", "-q",
                                            "--no-display-prompt", "--ignore-eos", "-t", threads],
                    f"reading, {threads} threads": reader + [threads],
                    "reading, 1 thread": reader + ["1"]}
        measure(commands["reading, 1 thread"])  # from now on the file is in the page cache
        samples = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                samples[name].append(measure(command))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in samples.items()}
    klens = medians["klens generate -n 1"]
    print(f"{os.path.basename(args.model)}, -t {threads}, medians of {args.rounds}")
    for name, (printed, ended, faults, _) in medians.items():
        print(f"{name:20}  result {printed:.4f} s  end {ended:.4f} s  {faults:6.0f} page faults", end="")
        print("" if name.startswith("klens") else f"  klens takes {klens[0] / printed:.2f} x and {klens[1] / ended:.2f} x that")
    above = max(row[-1] for row in samples["klens generate -n 1"]) - os.path.getsize(args.model)
    print(f"peak memory: {above / 2**20:.1f} MiB above the file")


if __name__ == "__main__":
    main()
