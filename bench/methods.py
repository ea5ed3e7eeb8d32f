#!/usr/bin/env python3
"""What klens's plans are worth against every other method's at no more bytes, on text that no plan was made from.

usage: bench/methods.py MODEL --work FOLDER --calibration TEXT --text OTHER_TEXT [--bpw 3.5,4,5] [--measured 2]

One profile; each method's plan for each budget and each uniform format is measured, and so is klens's plan, measured around as
`klens quantize` does, at the bytes that each of them takes. Prints, by method, KL of klens over KL of that method (geometric
mean, worst), and how well predicted KLs agree with measured ones. Every result is a file in --work and is not made again:
an interrupted run goes on where it was. After a change of klens, remove them.
"""
import argparse
import json
import math
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = "klens"


class Work:
    """The folder, with each step that makes a file in it."""

    def __init__(self, args):
        self.args = args
        self.windows = ["--windows", str(args.windows), "-c", str(args.ctx)]
        self.quantizer = ["--quantizer", args.quantizer] if args.quantizer else []
        self.judged = ["--test", args.text, "--test-windows", str(args.test_windows), "-n", "0"]
        os.makedirs(args.work, exist_ok=True)

    def klens(self, *words):
        subprocess.run([self.args.klens, *words], check=True, stdout=subprocess.DEVNULL)

    def made(self, name, *words):
        """What a klens command writes to that name, as JSON."""
        path = os.path.join(self.args.work, name)
        if not os.path.exists(path):
            resume = ["--resume"] if os.path.exists(path + ".partial") else []
            self.klens(*words, "-o", path, *resume)
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def profile(self):
        self.made("profile.json", "profile", self.args.model, "-f", self.args.calibration, *self.windows, *self.quantizer,
                  "--formats", self.args.formats, "--measured", self.args.measured)
        return os.path.join(self.args.work, "profile.json")

    def sweep(self, name, profile, *options):
        return [point for point in self.made(name, "sweep", self.args.model, "--profile", profile, "-f", self.args.calibration,
                                             *self.judged, *options)["points"] if "refused" not in point]

    def uniform(self, name):
        """One format for all, by the profile's quantizer."""
        path = os.path.join(self.args.work, name + ".klens")
        report = os.path.join(self.args.work, name + ".kl.json")
        if not os.path.exists(report):
            self.klens("quantize", self.args.model, "-o", path, "--uniform", name, "-f", self.args.calibration, *self.windows,
                       *self.quantizer, "--no-measure")
        return {"method": "uniform", "budget": name, **judged(self.args, path, report)}


def judged(args, path, report):
    """{"bytes", "kl"} of a file on args.text, kept in report; the file is removed."""
    if not os.path.exists(report):
        found = subprocess.run([args.klens, "compare", args.model, path, "-f", args.text, "-c", str(args.ctx), "--windows",
                                str(args.test_windows), "--json", "-q"], check=True, stdout=subprocess.PIPE).stdout
        with open(report + ".part", "w", encoding="utf-8") as file:
            json.dump({"bytes": os.path.getsize(path), "kl": json.loads(found)["kl"]}, file)
        os.rename(report + ".part", report)
        os.remove(path)
    with open(report, encoding="utf-8") as file:
        return json.load(file)


def arguments(about, bpw, windows):
    """Of a script that plans for budgets and judges files on another text."""
    ap = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--work", required=True, help="folder for all that is made; one per model")
    ap.add_argument("--calibration", required=True, metavar="TEXT")
    ap.add_argument("--text", required=True, help="what all are judged on")
    ap.add_argument("--bpw", default=bpw, help="budgets")
    ap.add_argument("-c", "--ctx", type=int, default=256)
    ap.add_argument("--windows", type=int, default=windows, help="of the profile")
    ap.add_argument("--test-windows", type=int, default=32)
    ap.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    return ap


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def ratios(others, ours):
    """Lines (method, pairs of (its point, klens's point at no more bytes))."""
    best = {point["budget"]: point for point in ours}
    by_method = {}
    for point in others:
        mine = best.get(f"{point['bytes']} bytes")
        if mine and point["kl"] > 0:
            by_method.setdefault(point["method"], {})[point["bytes"]] = (point, mine)
    return [(method, list(pairs.values())) for method, pairs in by_method.items()]


def report(model_ppl, others, ours):
    print("| against | plans | KL ratio, geometric mean | worst |\n|---|---:|---:|---|")
    for method, pairs in ratios(others, ours):
        found = [(mine["kl"] / point["kl"], point) for point, mine in pairs]
        worst, where = max(found, key=lambda pair: pair[0])
        name = method if method != OURS else OURS + ", not measured around"
        print(f"| {name} | {len(found)} | {geometric_mean([ratio for ratio, _ in found]):.3f} | "
              f"{worst:.3f} at {where['bytes']:,} bytes, KL {where['kl']:.5f} |")
    print("\n| klens | bytes | bpw | predicted KL | measured KL | off | measured around | perplexity |\n" + "|---" + "|---:" * 7 + "|")
    for point in sorted(ours, key=lambda p: p["bytes"]):
        if point["budget"].endswith(" bpw"):
            print(f"| {point['budget']} | {point['bytes']:,} | {point['bpw']:.3f} | {point['predicted_kl']:.5f} | {point['kl']:.5f} | "
                  f"{100 * (point['kl'] / point['predicted_kl'] - 1):+.0f} % | {point['refined']} times | "
                  f"{100 * (point['ppl'] / model_ppl - 1):+.2f} % |")
    within = [point for point in ours if point["ppl"] <= 1.01 * model_ppl]
    if within:
        least = min(within, key=lambda p: p["bytes"])
        print(f"\nSmallest of klens's plans here within 1 % of the model's perplexity ({model_ppl:.4f}): {least['bytes']:,} bytes, "
              f"{least['bpw']:.3f} bpw, KL {least['kl']:.5f}.")


def main():
    ap = arguments(__doc__, "3.5,4,4.5,5,5.5,6,7,8", 16)
    ap.add_argument("--uniform", default="int3g32,int4g64,int4g32,int4ag32,int5g32,int5ag32,int6g32,int8g32",
                    help="formats, each for all matrices")
    ap.add_argument("--formats", default="int8g32,int8,int6g16,int6g32,int5ag32,int5g32,int4ag32,int4g32,int4g64,int4g128,int3g16,"
                                         "int3g32,int2ag16", help="candidates")
    ap.add_argument("--quantizer", help="as klens profile has it")
    ap.add_argument("--measured", default="all", help="as klens profile has it")
    args = ap.parse_args()
    work = Work(args)
    profile = work.profile()
    others = work.sweep("methods.json", profile, "--bpw", args.bpw)
    others += [work.uniform(name) for name in args.uniform.split(",")]
    sizes = ",".join(str(size) for size in sorted({point["bytes"] for point in others}))
    ours = work.sweep("ours.json", profile, "--methods", OURS, "--refine", "--bpw", args.bpw, "--sizes", sizes)
    with open(os.path.join(args.work, "ours.json"), encoding="utf-8") as file:
        report(json.load(file)["evaluation"]["ppl"], others, ours)


if __name__ == "__main__":
    main()
