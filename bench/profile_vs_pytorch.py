#!/usr/bin/env python3
"""How much faster `klens profile` is than the straightforward loop in PyTorch, side by side in one run.

usage: bench/profile_vs_pytorch.py TEXT [--model FOLDER] [--klens PROGRAM] [--threads 2] [--windows 32] [--rounds 3]
                                   [--torch-windows 4] [--torch-threads 1]
Needs torch and transformers (pip install torch transformers).

The loop: the teacher's logits are kept; then for every unit and every one of the three formats the weight is
replaced, the whole model runs over the same windows, and forward and reverse KL, squared errors and cross entropy are
reduced, all in float32. Both measure the same: all units, int4g32, int4g64 and int8, windows of 256 tokens. PyTorch runs
on --torch-windows of the windows (one batch of 4) and is scaled up, since its time is proportional to them; where
--torch-threads lists several counts, the faster counts (the model's sequential scan gains nothing from more than 1). klens runs on all windows. They alternate; medians are compared.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
FORMATS = {"int4g32": (7, 32), "int4g64": (7, 64), "int8": (127, None)}
WINDOW = 256


def quantise(w, qmax, group):
    rows, cols = w.shape
    group = group or cols
    x = torch.nn.functional.pad(w, (0, -cols % group)).view(rows, -1, group)
    scale = (x.abs().amax(2, keepdim=True) / qmax).half().float().clamp(min=2**-24)
    return ((x / scale).round().clamp(-qmax, qmax) * scale).view(rows, -1)[:, :cols]


@torch.no_grad()
def torch_loop(model, ids):
    """Seconds of the straightforward loop over ids [windows][WINDOW], and the KL of every unit in int4g64."""
    begin = time.perf_counter()
    logits = lambda: model(ids, use_cache=False).logits.float()
    teacher, labels = logits(), ids[:, 1:]
    kls, seen = {}, set()
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or id(module.weight) in seen:
            continue
        seen.add(id(module.weight))
        original = module.weight.data.clone()
        for fmt, (qmax, group) in FORMATS.items():
            module.weight.data.copy_(quantise(original, qmax, group))
            student = logits()
            p, q = torch.log_softmax(teacher, -1), torch.log_softmax(student, -1)
            kl = (p.exp() * (p - q)).double().sum().item() / ids.numel()
            (q.exp() * (q - p)).double().sum().item()
            (teacher - student).double().pow(2).sum().item()
            q[:, :-1].gather(2, labels[:, :, None]).double().sum().item()
            if fmt == "int4g64":
                kls[name] = kl
        module.weight.data.copy_(original)
    return time.perf_counter() - begin, kls


def klens_profile(args, windows):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "profile.json")
        begin = time.perf_counter()
        subprocess.run([args.klens, "profile", args.model, "-f", args.text, "-o", out, "-c", str(WINDOW), "--windows", str(windows),
                        "-t", str(args.threads), "--formats", ",".join(FORMATS), "--activations", "f32", "-q"], check=True)
        seconds = time.perf_counter() - begin
        return seconds, json.load(open(out))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("text")
    ap.add_argument("--model", default=os.path.join(HERE, "../apps/demo-model/wiki-mamba"))
    ap.add_argument("--klens", default=os.path.join(HERE, "../build/release/apps/klens"))
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--windows", type=int, default=32)
    ap.add_argument("--torch-windows", type=int, default=4)
    ap.add_argument("--torch-threads", default="1")
    ap.add_argument("--rounds", type=int, default=3)
    args = ap.parse_args()

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=args.model + "/tokenizer.json")
    ids = torch.tensor(tokenizer(open(args.text, encoding="utf-8").read(), add_special_tokens=False)["input_ids"])
    ids = ids[: args.torch_windows * WINDOW].view(args.torch_windows, WINDOW)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()

    scale = args.windows / args.torch_windows
    ours, theirs = [], {int(threads): [] for threads in args.torch_threads.split(",")}
    for _ in range(args.rounds):
        ours.append(klens_profile(args, args.windows)[0])
        for threads in theirs:
            torch.set_num_threads(threads)
            seconds, want = torch_loop(model, ids)
            theirs[threads].append(seconds * scale)

    # Both must have measured the same for their times to mean anything.
    _, small = klens_profile(args, args.torch_windows)
    worst = 0.0
    for unit in small["units"]:
        got = next(c["kl"] for c in unit["candidates"] if c["format"] == "int4g64")
        if want[unit["name"]] > 1e-4:
            worst = max(worst, abs(got / want[unit["name"]] - 1))
    print(f"largest deviation of a unit's KL (int4g64, above 1e-4 nats): {worst:.1e}")
    best = min(statistics.median(times) for times in theirs.values())
    print(f"klens profile, {args.windows} windows x {WINDOW}, {args.threads} threads: median {statistics.median(ours):.1f} s of "
          + ", ".join(f"{t:.1f}" for t in ours))
    for threads, times in theirs.items():
        print(f"PyTorch {torch.__version__}, {threads} thread(s), scaled from {args.torch_windows} windows: median "
              f"{statistics.median(times):.1f} s of " + ", ".join(f"{t:.1f}" for t in times))
    print(f"klens takes 1/{best / statistics.median(ours):.1f} of the time of PyTorch's faster thread count")


if __name__ == "__main__":
    main()
