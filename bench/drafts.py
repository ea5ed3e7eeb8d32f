#!/usr/bin/env python3
"""What `klens generate --draft ngram` gains, for texts that repeat their prompt and texts that do not.

    bench/drafts.py MODEL --klens build/release/apps/klens [--rounds 5] [--draft-tokens 7]

MODEL has a chat template with <|im_start|>. Runs with and without drafts take turns, in an order that turns too; ids must be
the same. "cpu" is the processor time of a token, as others who use the machine stretch times: that of a run less that of
reading the prompt.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys

PASSAGE = (
    "The river rises in the hills above the town of Harwell and runs for ninety miles to the sea. In the spring, when the "
    "snow melts, the river floods the low meadows, and the farmers move their cattle to the higher ground. A stone bridge of "
    "seven arches, built in 1742, carries the old road across the river at Harwell. Below the bridge the river is deep enough "
    "for small boats, which used to carry wool, grain and timber to the harbour at Saltmouth. The railway ended that trade in "
    "1861. Today the boats carry visitors, who come in the summer to see the bridge, the mill and the gardens of the old abbey."
)
CODE = '''def read_records(path):
    records = []
    with open(path) as file:
        for line in file:
            line = line.strip()
            if not line:
                continue
            name, value = line.split(",")
            records.append((name, float(value)))
    return records


def total_by_name(records):
    totals = {}
    for name, value in records:
        totals[name] = totals.get(name, 0.0) + value
    return totals
'''
RECORDS = "\n".join(
    f'{{"id": {i}, "name": "{name}", "department": "sales", "active": true, "city": "Harwell"}}'
    for i, name in enumerate(["Anna", "Boris", "Clara", "David"], 1)
)
ASKED = {
    "repeat": "Repeat this text word for word:\n\n" + PASSAGE,
    "edit": "Rewrite this text with the word \"river\" replaced by \"stream\", and change nothing else:\n\n" + PASSAGE,
    "code": "Rename `records` to `rows` in this program and print the whole program:\n\n```python\n" + CODE + "```",
    "records": "Continue this list with ten more records in the same form:\n\n" + RECORDS,
    "summary": "Summarise this text in three sentences:\n\n" + PASSAGE,
    "question": "When was the bridge built, and what did the boats carry?\n\n" + PASSAGE,
    "story": "Write a story about a lighthouse keeper and a storm.",
    "essay": "Explain how a bicycle stays upright.",
    "list": "Give me twenty ideas for a birthday present.",
}


def prompt(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def run(arguments, text, options):
    """The JSON of a run, and the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = subprocess.run(
        [arguments.klens, "generate", arguments.model, "-p", prompt(text), "--json", "-q", *options],
        capture_output=True, text=True, check=False,
    )
    if made.returncode:
        sys.exit(made.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(made.stdout), seconds


def measure(arguments, text, sampling):
    kinds = {"none": [], "ngram": ["--draft", "ngram", "--draft-tokens", str(arguments.draft_tokens)]}
    speed, cpu, report = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}, {}
    for turn in range(arguments.rounds):
        _, reading = run(arguments, text, [*sampling, "-n", "1"])
        for kind in sorted(kinds, reverse=turn % 2 == 1):
            report[kind], seconds = run(arguments, text, [*sampling, "-n", str(arguments.predict), *kinds[kind]])
            speed[kind].append(report[kind]["decode_tok_s"])
            cpu[kind].append((seconds - reading) / max(report[kind]["generated_tokens"] - 1, 1))
    if report["none"]["ids"] != report["ngram"]["ids"]:
        sys.exit("drafts changed the text")
    return report["ngram"], {k: statistics.median(v) for k, v in speed.items()}, {k: statistics.median(v) for k, v in cpu.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--klens", default="build/release/apps/klens")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--predict", type=int, default=200)
    parser.add_argument("--draft-tokens", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=list(ASKED))
    arguments = parser.parse_args()
    print("| asked for | sampling | tokens | drafted | accepted | tokens per pass | tok/s without, with | gain | cpu of a token |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.only:
        for label, sampling in (("greedy", ["--greedy"]), ("0.8", [])):
            made, speed, cpu = measure(arguments, ASKED[name], sampling)
            fed = made["generated_tokens"] - 1
            print(
                f"| {name} | {label} | {fed + 1} | {made['drafted']} | {made['accepted']} | {fed / (fed - made['accepted']):.2f} "
                f"| {speed['none']:.1f}, {speed['ngram']:.1f} | **{speed['ngram'] / speed['none']:.2f}** | {cpu['ngram'] / cpu['none']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
