#!/usr/bin/env python3
"""What `klens quantize` saves, and loses, by measuring little: its plans against those of an exhaustive profile.

usage: bench/exhaustive.py MODEL --work FOLDER --calibration TEXT --text OTHER_TEXT [--bpw 4.5,5,6]

The exhaustive profile measures every candidate format of every matrix, on all windows, in a model that is otherwise as the
checkpoint has it: as klens did before it predicted, raced and rounded. Its plan for each budget and the one that `quantize` finds
by itself become files by the same command, and are compared with the model on the other text. Times are from start to file. Every
result is a file in --work and is not made again; after a change of klens, remove them.
"""
import json
import os
import subprocess
import time

from methods import arguments, geometric_mean, judged


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
        return judged(self.args, self.path(name), self.path(name + ".kl.json"))


def main():
    args = arguments(__doc__, "4.5,5,5.5,6,7,8", 32).parse_args()
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
    print(f"\nKL ratio: geometric mean {geometric_mean(ratios):.3f}, worst {max(ratios):.3f}")


if __name__ == "__main__":
    main()
