#!/usr/bin/env python3
"""What `klens quantize` saves, and loses, by measuring little: its plans against those of an exhaustive profile.

usage: bench/exhaustive.py MODEL --work FOLDER --calibration TEXT --text OTHER_TEXT [--bpw 4.5,5,6]

The exhaustive profile measures every candidate format of every matrix, on all windows, in a model that is otherwise as the
checkpoint has it: as klens did before it predicted, raced and rounded. Its plan for each budget and the one that `quantize` finds
by itself become files by the same command, and are compared with the model on the other text. Times are from start to file. Every
result is a file in --work and is not made again; after a change of klens, remove them.
"""
import argparse
import json
import math
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Work:
    """The folder, with each step that makes a file in it."""

    def __init__(self, args):
        self.args = args
        self.text = ["-f", args.calibration, "-c", str(args.ctx), "--windows", str(args.windows)]
        os.makedirs(args.work, exist_ok=True)

    def path(self, name):
        return os.path.join(self.args.work, name)

    def klens(self, *words):
        return subprocess.run([self.args.klens, *words, "-q"], check=True, stdout=subprocess.PIPE).stdout

    def timed(self, name, *words):
        """Seconds that a command takes which writes that file."""
        report = self.path(name + ".seconds.json")
        if not os.path.exists(report):
            begin = time.monotonic()
            self.klens(*words, "-o", self.path(name))
            with open(report, "w", encoding="utf-8") as file:
                json.dump(time.monotonic() - begin, file)
        with open(report, encoding="utf-8") as file:
            return json.load(file)

    def kl(self, name):
        report = self.path(name + ".kl.json")
        if not os.path.exists(report):
            found = json.loads(self.klens("compare", self.args.model, self.path(name), "-f", self.args.text, "-c",
                                          str(self.args.ctx), "--windows", str(self.args.test_windows), "--json"))
            with open(report, "w", encoding="utf-8") as file:
                json.dump({"kl": found["kl"], "bytes": os.path.getsize(self.path(name))}, file)
            os.remove(self.path(name))
        with open(report, encoding="utf-8") as file:
            return json.load(file)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--work", required=True, help="folder for all that is made; one per model")
    ap.add_argument("--calibration", required=True, metavar="TEXT")
    ap.add_argument("--text", required=True, help="what all are judged on")
    ap.add_argument("--bpw", default="4.5,5,5.5,6,7,8", help="budgets")
    ap.add_argument("-c", "--ctx", type=int, default=256)
    ap.add_argument("--windows", type=int, default=32, help="of the profiles, at most")
    ap.add_argument("--test-windows", type=int, default=32)
    ap.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    args = ap.parse_args()
    work = Work(args)
    profiled = work.timed("exhaustive.json", "profile", args.model, *work.text, "--measured", "all")
    print(f"exhaustive profile: {profiled:.0f} s\n\n| bpw | quantize: seconds | bytes | KL | exhaustive: seconds | bytes | KL | "
          "KL ratio |\n" + "|---" + "|---:" * 7 + "|")
    ratios = []
    for bpw in args.bpw.split(","):
        seconds = work.timed(f"quantize-{bpw}.klens", "quantize", args.model, *work.text, "--bpw", bpw, "--no-measure")
        ours = work.kl(f"quantize-{bpw}.klens")
        plan = work.path(f"exhaustive-{bpw}.plan.json")
        if not os.path.exists(plan):
            subprocess.run([args.klens, "plan", work.path("exhaustive.json"), "--bpw", bpw, "-o", plan], check=True,
                           stdout=subprocess.DEVNULL)
        baked = work.timed(f"exhaustive-{bpw}.klens", "quantize", args.model, *work.text, "--plan", plan, "--no-measure")
        theirs = work.kl(f"exhaustive-{bpw}.klens")
        ratios.append(ours["kl"] / theirs["kl"])
        print(f"| {bpw} | {seconds:.1f} | {ours['bytes']:,} | {ours['kl']:.6f} | {profiled + baked:.1f} | {theirs['bytes']:,} | "
              f"{theirs['kl']:.6f} | {ratios[-1]:.3f} |", flush=True)
    print(f"\nKL ratio: geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}, worst {max(ratios):.3f}")


if __name__ == "__main__":
    main()
