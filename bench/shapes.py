#!/usr/bin/env python3
"""Checkpoints with the exact shapes of published models and random FP16 weights: for speed and memory only.

usage: bench/shapes.py NAME FOLDER      writes FOLDER/NAME; needs torch and transformers
"""
import json
import math
import os
import sys

MAMBA1 = dict(vocab_size=50280, state_size=16)
MAMBA2 = dict(vocab_size=50288, state_size=128, head_dim=64, n_groups=1, tie_word_embeddings=True, bos_token_id=0,
              eos_token_id=0, pad_token_id=0)
QWEN35 = dict(vocab_size=248320, head_dim=256, linear_num_key_heads=16, linear_key_head_dim=128, linear_value_head_dim=128,
              tie_word_embeddings=True)
SHAPES = {
    "mamba-130m": ("Mamba", dict(**MAMBA1, hidden_size=768, num_hidden_layers=24)),
    "mamba-370m": ("Mamba", dict(**MAMBA1, hidden_size=1024, num_hidden_layers=48)),
    "mamba-1.4b": ("Mamba", dict(**MAMBA1, hidden_size=2048, num_hidden_layers=48)),
    "mamba-2.8b": ("Mamba", dict(**MAMBA1, hidden_size=2560, num_hidden_layers=64)),
    "mamba2-130m": ("Mamba2", dict(**MAMBA2, hidden_size=768, num_hidden_layers=24, num_heads=24)),
    "mamba2-1.3b": ("Mamba2", dict(**MAMBA2, hidden_size=2048, num_hidden_layers=48, num_heads=64)),
    "mamba2-2.7b": ("Mamba2", dict(**MAMBA2, hidden_size=2560, num_hidden_layers=64, num_heads=80)),
    # Llama 3.2's blocks under the Mambas' vocabulary, so that heads weigh the same.
    "llama-1b": ("Llama", dict(vocab_size=50280, hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
                               num_key_value_heads=8, intermediate_size=8192, tie_word_embeddings=True)),
    "zamba2-1.2b": ("Zamba2", dict(
        vocab_size=32000, hidden_size=2048, num_hidden_layers=38, intermediate_size=8192, num_attention_heads=32,
        num_key_value_heads=32, attention_head_dim=128, mamba_d_state=128, mamba_expand=2, mamba_ngroups=1,
        n_mamba_heads=64, num_mem_blocks=1, use_shared_attention_adapter=True, use_mem_rope=True, adapter_rank=128,
        layers_block_type=["hybrid" if i % 6 == 5 else "mamba" for i in range(38)])),
    "falcon-h1-0.5b": ("FalconH1", dict(
        vocab_size=32784, hidden_size=1024, num_hidden_layers=36, intermediate_size=2048, num_attention_heads=8,
        num_key_value_heads=2, head_dim=64, mamba_d_ssm=1536, mamba_n_heads=24, mamba_d_head=64, mamba_d_state=128,
        mamba_n_groups=1)),
    "qwen3.5-0.8b": ("Qwen3_5Text", dict(
        **QWEN35, hidden_size=1024, num_hidden_layers=24, intermediate_size=3584, num_attention_heads=8,
        num_key_value_heads=2, linear_num_value_heads=16)),
    "qwen3.5-4b": ("Qwen3_5Text", dict(
        **QWEN35, hidden_size=2560, num_hidden_layers=32, intermediate_size=9216, num_attention_heads=16,
        num_key_value_heads=4, linear_num_value_heads=32)),
    "lfm2-1.2b": ("Lfm2", dict(
        vocab_size=65536, hidden_size=2048, num_hidden_layers=16, intermediate_size=12288, num_attention_heads=32,
        num_key_value_heads=8, layer_types=["full_attention" if i in (2, 5, 8, 10, 12, 14) else "conv" for i in range(16)])),
    # Their mixers alone, for what texts cost as they grow: attention would hide it.
    "delta-layers": ("Qwen3_5Text", dict(
        **{**QWEN35, "vocab_size": 2048, "linear_num_key_heads": 4}, hidden_size=512, num_hidden_layers=4, intermediate_size=1024,
        num_attention_heads=4, num_key_value_heads=2, linear_num_value_heads=8, layer_types=["linear_attention"] * 4)),
    "conv-layers": ("Lfm2", dict(
        vocab_size=2048, hidden_size=512, num_hidden_layers=4, intermediate_size=1536, num_attention_heads=8,
        num_key_value_heads=4, layer_types=["conv"] * 4)),
}


def write(name, folder):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    family, sizes = SHAPES[name]
    torch.manual_seed(0)
    config = getattr(transformers, family + "Config")(**sizes)
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float16)
        for key, p in model.named_parameters():
            if p.dim() >= 2 and "A_log" not in key and "conv" not in key:
                p.normal_(0, 0.7 / math.sqrt(p.shape[-1]))
    path = os.path.join(folder, name)
    model.save_pretrained(path)
    return sum(p.numel() for p in model.parameters())


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__ + "\nNAME: " + ", ".join(SHAPES))
    print(json.dumps({"name": sys.argv[1], "parameters": write(*sys.argv[1:])}))
