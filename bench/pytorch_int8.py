#!/usr/bin/env python3
"""What INT8 does to a golden in PyTorch itself: the KL of its logits, in FP64, with weights rounded to 8 bits by rows.

usage: bench/pytorch_int8.py GOLDEN...      folders of tests/data/goldens; needs torch and transformers
"""
import os
import sys

import torch
import transformers
from safetensors.torch import load_file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
# What is rounded: all, all but the embedding, it alone, each layer.
PARTS = {"all": lambda name: True, "linear": lambda name: "embed" not in name, "embedding": lambda name: "embed" in name}


def rounded(weights):
    scale = weights.abs().amax(-1, keepdim=True) / 127
    scale[scale == 0] = 1
    return (weights / scale).round() * scale


def kl_of(folder, wanted, ids, heeds):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", experts_implementation="eager").double().eval()
    for name, weights in model.named_parameters():
        if weights.dim() >= 2 and "conv" not in name.replace("conv.in_proj", "").replace("conv.out_proj", "") and "A_log" not in name and heeds(name):
            weights.copy_(rounded(weights))
    ours = torch.log_softmax(model(ids, use_cache=False).logits[0], -1)
    return (wanted.exp() * (wanted - ours)).sum(-1).mean().item()


@torch.no_grad()
def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for folder in sys.argv[1:]:
        reference = load_file(os.path.join(folder, "reference.safetensors"))
        wanted, ids = torch.log_softmax(reference["logits"].double(), -1), reference["input_ids"][None].long()
        layers = {f"layer {i}": (lambda name, i=i: f".layers.{i}." in name)
                  for i in range(transformers.AutoConfig.from_pretrained(folder).num_hidden_layers)}
        parts = {part: kl_of(folder, wanted, ids, heeds) for part, heeds in {**PARTS, **layers}.items()}
        print(os.path.basename(folder.rstrip("/")) + ": " + ", ".join(f"{part} {kl:.2g}" for part, kl in parts.items()), flush=True)


if __name__ == "__main__":
    main()
