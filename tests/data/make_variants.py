"""Writes goldens/NAME for settings that the other goldens leave out: tiny random models and the logits of the
`transformers` package, as float32.

    python3 make_variants.py [NAME...]     (needs torch and transformers; those in the repository are of version 5.23.0,
the *_steps of 5.24.0, whose logits make_fp64_logits.py then made anew)
"""
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from make_fp64_logits import heed_time_step_limit

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens")
SIZES = dict(vocab_size=160, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
             bos_token_id=0, eos_token_id=0, pad_token_id=1, max_position_embeddings=256)
MAMBA = dict(mamba_d_state=16, mamba_d_conv=4, mamba_expand=2, mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=2,
             mamba_chunk_size=16)
VARIANTS = {
    "granite_experts": ("granitemoehybrid", dict(
        num_hidden_layers=3, layer_types=["linear_attention", "full_attention", "linear_attention"],
        num_local_experts=5, num_experts_per_tok=2, shared_intermediate_size=40, position_embedding_type="rope",
        attention_multiplier=0.2, residual_multiplier=0.5, embedding_multiplier=6.0, logits_scaling=2.0, **MAMBA)),
    "nemotron_h_experts": ("nemotron_h", dict(
        layers_block_type=["linear_attention", "moe", "full_attention", "moe", "mlp"], n_routed_experts=8,
        num_experts_per_tok=3, n_group=4, topk_group=2, moe_intermediate_size=20, moe_latent_size=16,
        moe_shared_expert_intermediate_size=24, routed_scaling_factor=2.5, mamba_num_heads=8, mamba_head_dim=8,
        n_groups=2, ssm_state_size=16, chunk_size=16, head_dim=12, time_step_limit=(0.3, float("inf")), use_bias=True)),
    "zamba2_blocks": ("zamba2", dict(
        num_key_value_heads=4, num_hidden_layers=6, num_mem_blocks=2, use_shared_attention_adapter=True,
        layers_block_type=["linear_attention", "hybrid", "hybrid", "linear_attention", "hybrid", "hybrid"],
        adapter_rank=4, use_mem_rope=True, mamba_ngroups=2, n_mamba_heads=8, mamba_d_state=16, chunk_size=16,
        time_step_limit=(0.2, float("inf")), add_bias_linear=True)),
    # Time steps far below time_step_min, which bounds none of them.
    "nemotron_h_steps": ("nemotron_h", dict(
        layers_block_type=["linear_attention", "mlp", "linear_attention"], mamba_num_heads=8, mamba_head_dim=8,
        n_groups=2, ssm_state_size=16, chunk_size=16, head_dim=8)),
    "zamba2_steps": ("zamba2", dict(
        num_key_value_heads=4, num_hidden_layers=3, num_mem_blocks=1,
        layers_block_type=["linear_attention", "hybrid", "linear_attention"],
        adapter_rank=4, mamba_ngroups=2, n_mamba_heads=8, mamba_d_state=16, chunk_size=16)),
    "falcon_h1_norm": ("falcon_h1", dict(
        num_hidden_layers=2, mamba_d_ssm=64, mamba_rms_norm=True, mamba_norm_before_gate=True, mamba_proj_bias=True,
        projectors_bias=True, attention_bias=True, mlp_bias=True, head_dim=8, time_step_limit=(0.1, 0.8),
        attention_in_multiplier=0.75, attention_out_multiplier=1.25, key_multiplier=0.5, ssm_in_multiplier=0.6,
        ssm_out_multiplier=1.3, mlp_multipliers=[0.8, 1.1], ssm_multipliers=[0.5, 0.75, 1.0, 1.25, 1.5],
        embedding_multiplier=2.0, lm_head_multiplier=0.5, **MAMBA)),
    "mistral_window": ("mistral", dict(num_hidden_layers=2, sliding_window=7)),
}


def randomise(model, dt_shift=0.0):
    buffers = [b for b in model.named_buffers() if "correction" in b[0]]
    for name, values in [*model.named_parameters(), *buffers]:
        if name.endswith("A_log"):
            values.copy_(torch.log(torch.rand_like(values) * 3 + 0.5))
        elif "correction" in name:
            values.copy_(torch.randn_like(values) * 0.1)
        elif name.endswith(("gate.weight", "router.weight")):  # so that every expert is chosen
            values.copy_(torch.randn_like(values) * 3 / values.shape[-1] ** 0.5)
        elif values.ndim < 2:
            values.add_(torch.randn_like(values) * 0.3 + (dt_shift if name.endswith("dt_bias") else 0.0))
        elif "conv" in name or "embed" in name:
            values.copy_(torch.randn_like(values) * 0.5)
        else:
            values.copy_(torch.randn_like(values) * 0.8 / values.shape[-1] ** 0.5)


@torch.no_grad()
def main():
    for name in sys.argv[1:] or VARIANTS:
        kind, settings = VARIANTS[name]
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SIZES, **settings})).float()
        randomise(model, -6.0 if name.endswith("_steps") else 0.0)
        folder = os.path.join(FOLDER, name)
        model.save_pretrained(folder)
        os.remove(os.path.join(folder, "generation_config.json"))
        # What was saved is what is measured.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        heed_time_step_limit(model, folder)
        ids = torch.randint(0, 160, (1, 53))
        greedy = ids[:, :20]
        for _ in range(24):  # without a cache: decoding steps of transformers do not clamp dt
            last = model(greedy, use_cache=False).logits[:, -1]
            greedy = torch.cat([greedy, last.argmax(-1, keepdim=True)], dim=1)
        save_file({"input_ids": ids[0].int(), "greedy_ids": greedy[0].int(),
                   "logits": model(ids, use_cache=False).logits[0].contiguous()},
                  os.path.join(folder, "reference.safetensors"))


main()
