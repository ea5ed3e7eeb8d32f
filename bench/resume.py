#!/usr/bin/env python3
"""What `klens quantize` loses when it is killed: one run to its end, and one that kill -9 ends again and again and --resume goes on with.

usage: bench/resume.py MODEL --work FOLDER [--every SECONDS] [klens options, such as --bpw 5 -f TEXT]

The second is killed after each SECONDS (30) of running. Prints whether both files are the same, and how much longer it took for each
kill, with what any start takes: opening the model and finding out how long all will take.
"""
import argparse
import filecmp
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def run(command, seconds=None):
    """Whether it came to its end, and after how long."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    if code not in (0, -9):
        sys.exit(f"{' '.join(command)}: exit status {code}")
    return code == 0, time.monotonic() - begin


def folder_bytes(path):
    return sum(entry.stat().st_size for entry in os.scandir(path)) if os.path.isdir(path) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--work", required=True)
    parser.add_argument("--every", type=float, default=30)
    parser.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    args, options = parser.parse_known_args()
    os.makedirs(args.work, exist_ok=True)

    def command(name, *more):
        return [args.klens, "quantize", args.model, "-o", os.path.join(args.work, name), "-q", *options, *more]

    whole = run(command("whole.klens"))[1]
    parts, kills, most = 0.0, 0, 0
    while True:
        ended, seconds = run(command("parts.klens", "--resume"), args.every)
        parts += seconds
        if ended:
            break
        kills += 1
        most = max(most, folder_bytes(os.path.join(args.work, "parts.klens.partial.data")))
    same = filecmp.cmp(os.path.join(args.work, "whole.klens"), os.path.join(args.work, "parts.klens"), shallow=False)
    left = [name for name in os.listdir(args.work) if name.startswith("parts.klens.")]
    print(f"whole {whole:.1f} s; killed {kills} times, {parts:.1f} s: {(parts - whole) / max(kills, 1):.1f} s lost by each kill; "
          f"{most / 1e6:.0f} MB kept; files {'are the same' if same else 'DIFFER'}; left behind: {', '.join(left) or 'nothing'}")
    sys.exit(0 if same and not left else 1)


if __name__ == "__main__":
    main()
