"""Writes long/NAME.safetensors for the goldens whose mixers go through prompts in chunks: input_ids of 230 tokens, more than
three chunks of 64, and logits in FP64 of the transformers package at some of them; and prints what its own FP32 misses.

    python3 make_long_references.py     (needs torch and transformers; those in the repository are of version 5.24.0)
"""
import os

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["qwen3_5", "qwen3_5_moe", "qwen3_next", "olmo_hybrid", "lfm2", "lfm2_moe", "granite"]
POSITIONS = [0, 1, 62, 63, 64, 65, 100, 127, 128, 129, 191, 192, 200, 228, 229]


@torch.no_grad()
def main():
    os.makedirs(os.path.join(HERE, "long"), exist_ok=True)
    for number, name in enumerate(NAMES):
        model = AutoModelForCausalLM.from_pretrained(os.path.join(HERE, "goldens", name), attn_implementation="eager",
                                                     experts_implementation="eager").float().eval()
        ids = torch.randint(2, 160, (1, 230), generator=torch.Generator().manual_seed(number))
        single = model(ids, use_cache=False).logits[0].double()
        wanted = model.double()(ids, use_cache=False).logits[0]
        missed = ((single - wanted).abs() / (1 + wanted.abs())).max().item()
        print(f"{name}: FP32 is {missed:.2g} from FP64", flush=True)
        save_file({"input_ids": ids[0].int(), "positions": torch.tensor(POSITIONS, dtype=torch.int32),
                   "logits": wanted[POSITIONS].float().contiguous()}, os.path.join(HERE, "long", name + ".safetensors"))


main()
