"""Frequencies of rotary embeddings as transformers computes them, into rope.json.

usage: make_rope.py OUT   (needs torch and transformers)
Each entry: a config, the length of the text, inv_freq and the factor of cos and sin.
"""
import json
import sys

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = [
    dict(rope_type="linear", factor=2.5),
    dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192),
    dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768),
    dict(rope_type="yarn", factor=16.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0, truncate=False),
    dict(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, mscale=1.0, mscale_all_dim=0.5),
    dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=4096, attention_factor=1.25),
    dict(rope_type="dynamic", factor=2.0),
]

entries = []
for head_dim, theta, longest in ((64, 10000.0, 4096), (80, 500000.0, 131072)):
    for case in CASES:
        for length in (longest, 3 * longest) if case["rope_type"] == "dynamic" else (longest,):
            config = LlamaConfig(hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim,
                                 max_position_embeddings=longest, rope_parameters=dict(case, rope_theta=theta))
            inv_freq, factor = ROPE_INIT_FUNCTIONS[case["rope_type"]](config, "cpu", seq_len=length)
            entries.append(dict(head_dim=head_dim, length=length, scale=factor, inv_freq=inv_freq.tolist(),
                                config=dict(max_position_embeddings=longest, rope_theta=theta, rope_scaling=case)))
with open(sys.argv[1], "w") as file:
    json.dump(entries, file)
