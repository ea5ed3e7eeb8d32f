#!/usr/bin/env python3
"""KL of every format on its own, by every quantizer: the whole model in one format, against the model as it is.

usage: bench/single_formats.py KLENS MODEL TEXT CALIBRATION [FORMAT...]
TEXT is scored in windows of 512 tokens; CALIBRATION is what `search` and `gptq` see inputs by. Prints a table.
"""
import json
import os
import subprocess
import sys
import tempfile


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    klens, model, text, calibration, *formats = sys.argv[1:]
    print("| format | quantizer | bytes | KL |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "one.klens")
        for name in formats or ["int8g32", "int8", "int6g32", "int5ag32", "int5g32", "int4ag32", "int4g32", "int4g64"]:
            for quantizer in ("rtn", "search", "gptq"):
                run(klens, "quantize", model, "-o", out, "--uniform", name, "--quantizer", quantizer, "--no-measure",
                    "-f", calibration, "-q")
                report = json.loads(run(klens, "compare", model, out, "-f", text, "-c", "512", "-q", "--json"))
                print(f"| {name} | {quantizer} | {os.path.getsize(out)} | {report['kl']:.4g} |", flush=True)
                os.remove(out)


main()
