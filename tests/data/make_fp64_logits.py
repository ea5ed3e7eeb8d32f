"""Replaces a golden's logits by those that transformers computes in FP64 (rounded to FP32).

usage: tests/data/make_fp64_logits.py tests/data/goldens/zamba      (needs torch, transformers, safetensors)
For Mamba-2 goldens that transformers clamps otherwise than their authors' kernels (heed_time_step_limit), and for
goldens whose random weights amplify rounding: the FP32 logits of zamba are 1.8e-4 from these, nearly all of the
contract's 2e-4 (1 + |logit|). What the model's code casts to FP32 is left in FP64.
"""
import json
import math
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

F64 = torch.float64


def heed_time_step_limit(model, folder):
    """Mamba-2 mixers clamp to config.json's time_step_limit, as the authors' CUDA kernels do, and to nothing where it is
    null or absent. transformers' own Nemotron-H and Zamba2 take (time_step_min, inf) instead."""
    with open(folder + "/config.json") as file:
        limit = json.load(file).get("time_step_limit") or [0, math.inf]
    limit = tuple(float(x["__float__"]) if isinstance(x, dict) else float(x) for x in limit)
    for module in model.modules():
        if hasattr(module, "time_step_limit"):
            module.time_step_limit = limit


def in_fp64(value):
    return F64 if value is torch.float32 else value


def stay_in_fp64():
    """From now on no cast leads to FP32."""
    cast, softmax = torch.Tensor.to, torch.nn.functional.softmax
    torch.set_default_dtype(F64)
    torch.Tensor.float = torch.Tensor.double
    torch.Tensor.to = lambda x, *args, **kwargs: cast(
        x, *(in_fp64(a) for a in args), **{key: in_fp64(value) for key, value in kwargs.items()})
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None, **kwargs: softmax(
        x, dim=dim, dtype=in_fp64(dtype), **kwargs)


def main():
    folder = sys.argv[1]
    path = folder + "/reference.safetensors"
    reference = load_file(path)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().double()
    heed_time_step_limit(model, folder)
    stay_in_fp64()
    with torch.no_grad():
        logits = model(reference["input_ids"].long().view(1, -1), use_cache=False).logits[0]
    assert logits.dtype is F64
    before = reference["logits"].view(logits.shape).double()
    worst = ((before - logits).abs() / (1 + logits.abs())).max().item()
    print(f"{folder}: the logits there were within {worst:.3g} (1 + |logit|)")
    reference["logits"] = torch.empty(before.shape, dtype=torch.float32).copy_(logits)
    save_file(reference, path)


if __name__ == "__main__":
    main()
