#!/usr/bin/env python3
"""What a plan is worth at equal bytes: klens against uniform formats and against kl-sort, on text nothing was chosen on.

usage: bench/quality.py EVALUATION_TEXT [--calibration TEXT] [--model FOLDER] [--klens PROGRAM] [--windows 100]
Without --calibration the model samples its own. Prints one line per comparison: KL of both (klens compare), their ratio,
and how well the plan's predicted KL agrees with the measured one.
"""
import argparse
import json
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("text")
    ap.add_argument("--calibration")
    ap.add_argument("--model", default=os.path.join(HERE, "../apps/demo-model/wiki-mamba"))
    ap.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    ap.add_argument("--windows", type=int, default=100)
    args = ap.parse_args()
    calibration = ["-f", args.calibration] if args.calibration else []

    def klens(*words):
        out = subprocess.run([args.klens, *words, "--json", "-q"], check=True, stdout=subprocess.PIPE).stdout
        return json.loads(out)

    with tempfile.TemporaryDirectory() as folder:
        def quantised(name, *options):
            """The report of klens quantize, with the KL on the evaluation text as "text_kl"."""
            path = os.path.join(folder, name + ".klens")
            report = klens("quantize", args.model, "-o", path, *calibration, *options)
            report["text_kl"] = klens("compare", args.model, path, "-f", args.text, "--windows", str(args.windows))["kl"]
            return report

        def line(title, plan, other):
            agreement = plan["measured_kl"] / plan["predicted_kl"]
            print(f"{title}: {plan['bytes']} bytes, KL {plan['text_kl']:.5f} against {other['bytes']} bytes, {other['text_kl']:.5f}: "
                  f"ratio {plan['text_kl'] / other['text_kl']:.3f}; measured/predicted {agreement:.3f}", flush=True)

        for uniform in ("int4g64", "int4g32"):
            other = quantised("uniform-" + uniform, "--uniform", uniform)
            line(f"--size of {uniform}", quantised("size-" + uniform, "--size", str(other["bytes"])), other)
        for bpw in ("4.6", "5"):
            other = quantised("kl-sort", "--bpw", bpw, "--method", "kl-sort")
            line(f"--bpw {bpw} against kl-sort", quantised("klens", "--bpw", bpw), other)


if __name__ == "__main__":
    main()
