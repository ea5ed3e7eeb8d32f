"""Writes gguf/NAME.gguf, small models with random weights in the architectures that llama.cpp's converter knows, and
gguf/NAME.reference.safetensors: input_ids, logits and greedy_ids of the transformers package with the weights that the
GGUF holds; and gguf/types.gguf, random blocks of every quantised type that klens reads beside the values that the gguf package
makes of them.

    python3 make_gguf.py LLAMA_CPP [NAME...]     a folder of llama.cpp with conversion/ and gguf-py/; all, or those named

Needs torch, transformers and safetensors; the files in the repository are of transformers 5.23, those from granite_dense on of
5.24 with logits in FP64.
"""
import json
import os
import pathlib
import sys
import tempfile

FOLDER = pathlib.Path(os.path.dirname(os.path.abspath(__file__))) / "gguf"
LLAMA_CPP = pathlib.Path(sys.argv[1]) if len(sys.argv) >= 2 else sys.exit(__doc__)
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]

import conversion  # noqa: E402
import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers as tf  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

tf.logging.set_verbosity_error()
COMMON = dict(vocab_size=64, hidden_size=32, max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=1)
HEADS = dict(num_attention_heads=4, num_key_value_heads=2)
MAMBA_D = dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=2, mamba_chunk_size=16)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=256)


def models():
    """Name, config, changes to config.json that the converter needs."""
    dense = dict(**COMMON, **HEADS, intermediate_size=48, num_hidden_layers=2)
    yield "llama", tf.LlamaConfig(**dense, rope_parameters=LLAMA3), {}
    yield "llama_bias", tf.LlamaConfig(**dense, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), {}
    yield "qwen2", tf.Qwen2Config(**dense, rope_parameters=dict(
        rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32)), {}
    yield "qwen3", tf.Qwen3Config(**dense, head_dim=12, rope_parameters=dict(
        rope_type="linear", rope_theta=1e4, factor=2.0)), {}
    mamba = dict(**COMMON, num_hidden_layers=2, state_size=8, time_step_rank=4)
    yield "mamba", tf.MambaConfig(**mamba), {}
    yield "falcon_mamba", tf.FalconMambaConfig(**mamba), {}
    yield "mamba2", tf.Mamba2Config(**COMMON, num_hidden_layers=2, state_size=8, num_heads=4, head_dim=16, n_groups=2,
                                    chunk_size=16, tie_word_embeddings=False), {}
    yield "jamba", tf.JambaConfig(**COMMON, **HEADS, intermediate_size=32, num_hidden_layers=3, attn_layer_period=3,
                                  attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, num_experts=3,
                                  num_experts_per_tok=2, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False), {}
    # Multipliers that are powers of two go into the weights without rounding.
    yield "falcon_h1", tf.FalconH1Config(
        **COMMON, **HEADS, **MAMBA_D, head_dim=8, intermediate_size=48, num_hidden_layers=2, mamba_d_ssm=64,
        mamba_rms_norm=True, mamba_norm_before_gate=False, embedding_multiplier=4.0, lm_head_multiplier=0.25,
        attention_in_multiplier=0.5, attention_out_multiplier=2.0, key_multiplier=0.5, ssm_in_multiplier=2.0,
        ssm_out_multiplier=0.5, ssm_multipliers=[0.5, 2.0, 0.25, 4.0, 0.5], mlp_multipliers=[2.0, 0.5]), {}
    kinds = ["mamba", "attention", "mamba"]
    granite = dict(**COMMON, **HEADS, **MAMBA_D, intermediate_size=24, shared_intermediate_size=40, num_hidden_layers=3,
                   layer_types=kinds, attention_multiplier=0.3, residual_multiplier=0.22, logits_scaling=3.0,
                   embedding_multiplier=12.0, tie_word_embeddings=True, position_embedding_type="nope")
    yield "granite", tf.GraniteMoeHybridConfig(**granite, num_local_experts=0, num_experts_per_tok=0), \
        dict(layer_types=kinds)
    yield "granite_moe", tf.GraniteMoeHybridConfig(**granite, num_local_experts=4, num_experts_per_tok=2), \
        dict(layer_types=kinds)
    yield "bamba", tf.BambaConfig(**COMMON, **HEADS, **MAMBA_D, intermediate_size=48, num_hidden_layers=3,
                                  attn_layer_indices=[1]), dict(attn_rotary_emb=4)
    nemotron = dict(**COMMON, **HEADS, head_dim=8, intermediate_size=48, mamba_num_heads=4, mamba_head_dim=16,
                    ssm_state_size=8, n_groups=2, chunk_size=16)
    yield "nemotron_h", tf.NemotronHConfig(**nemotron, layers_block_type=["mamba", "mlp", "attention", "mlp"]), \
        dict(hybrid_override_pattern="M-*-", layers_block_type=None, num_hidden_layers=4, num_experts_per_tok=None)
    yield "nemotron_h_moe", tf.NemotronHConfig(
        **nemotron, layers_block_type=["mamba", "attention", "moe"], n_routed_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=24, moe_shared_expert_intermediate_size=40, n_shared_experts=1, n_group=1, topk_group=1,
        routed_scaling_factor=2.5, norm_topk_prob=True), {}
    yield "granite_dense", tf.GraniteConfig(**dense, attention_multiplier=0.3, residual_multiplier=0.22, logits_scaling=3.0,
                                            embedding_multiplier=12.0, tie_word_embeddings=True), {}
    conv = dict(**COMMON, **HEADS, layer_types=["conv", "conv", "full_attention", "conv"], num_hidden_layers=4)
    yield "lfm2", tf.Lfm2Config(**conv, intermediate_size=96, block_multiple_of=16, block_ffn_dim_multiplier=0.9), {}
    yield "lfm2_moe", tf.Lfm2MoeConfig(**conv, intermediate_size=48, moe_intermediate_size=24, num_dense_layers=1,
                                       num_experts=4, num_experts_per_tok=2, use_expert_bias=True), {}
    # Two value heads for each key head, of sizes that differ: the converter sets them in another order.
    delta = dict(**COMMON, **HEADS, head_dim=16, num_hidden_layers=4, linear_num_key_heads=2, linear_num_value_heads=4,
                 linear_key_head_dim=8, linear_value_head_dim=12)
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=40)
    yield "qwen3_5", tf.Qwen3_5TextConfig(**delta, intermediate_size=48, tie_word_embeddings=True), {}
    yield "qwen3_5_mtp", tf.Qwen3_5TextConfig(**delta, intermediate_size=48), dict(mtp_num_hidden_layers=1)
    yield "qwen3_5_moe", tf.Qwen3_5MoeTextConfig(**delta, **experts), {}
    yield "qwen3_next", tf.Qwen3NextConfig(**delta, **experts, intermediate_size=48), {}


def randomise(model, seed):
    """Weights with some spread, matrices rounded to FP16 as the GGUF will hold them."""
    torch.manual_seed(seed)
    biases = [(name, b) for name, b in model.named_buffers() if name.endswith("expert_bias")]
    for name, p in [*model.named_parameters(), *biases]:
        if "norm" in name and p.dim() == 1:
            torch.nn.init.normal_(p, float(p.mean() > 0.5), 0.2)  # some are of what is added to 1
        elif p.dim() > 1 and "A_log" not in name:
            torch.nn.init.normal_(p, 0, 0.15)
            p.data = p.data.half().float()
        elif name.endswith("bias"):
            torch.nn.init.normal_(p, 0, 0.1)


def add_head_of_further_tokens(folder):
    """The tensors that predict further tokens, which transformers leaves out: those of an attention layer, and four more."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    last = max(int(name.split(".")[2]) for name in tensors if ".self_attn." in name)
    hidden = COMMON["hidden_size"]
    for name in [name for name in tensors if name.startswith(f"model.layers.{last}.")]:
        tensors[name.replace(f"model.layers.{last}.", "mtp.layers.0.")] = tensors[name] * 0.5
    tensors["mtp.fc.weight"] = torch.zeros(hidden, 2 * hidden)
    for name in ("mtp.norm.weight", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight"):
        tensors[name] = torch.zeros(hidden)
    save_file(tensors, path, metadata={"format": "pt"})


def convert(folder, target, patch):
    if "mtp_num_hidden_layers" in patch:
        add_head_of_further_tokens(folder)
    path = folder / "config.json"
    config = {k: v for k, v in {**json.loads(path.read_text()), **patch}.items() if v is not None}
    path.write_text(json.dumps(config))
    model_class = conversion.get_model_class(config["architectures"][0])
    model_class.set_vocab = lambda self: None
    model_class.no_mtp = "mtp_num_hidden_layers" not in patch
    given = {"hparams": config} if "hybrid_override_pattern" in config else {}
    model_class(folder, gguf.LlamaFileType.MOSTLY_F16, target, eager=True, model_name=target.stem, **given).write()


def reference(model):
    ids = torch.randint(2, COMMON["vocab_size"], (1, 24))
    with torch.no_grad():
        logits = model(ids).logits[0].float()
        greedy = ids[:, :8]
        for _ in range(16):
            greedy = torch.cat([greedy, model(greedy).logits[:, -1:].argmax(-1)], 1)
    return {"input_ids": ids[0].int(), "logits": logits.contiguous(), "greedy_ids": greedy[0].int()}


def write_types():
    writer = gguf.GGUFWriter(FOLDER / "types.gguf", "none")
    rng = np.random.default_rng(7)
    kinds = gguf.GGMLQuantizationType
    # Where a block has its FP16 scales.
    scales = {kinds.Q8_0: [0], kinds.Q4_0: [0], kinds.Q4_1: [0, 2], kinds.Q5_0: [0], kinds.Q5_1: [0, 2],
              kinds.Q4_K: [0, 2], kinds.Q5_K: [0, 2], kinds.Q6_K: [208], kinds.Q2_K: [80, 82], kinds.Q3_K: [108],
              kinds.IQ4_NL: [0], kinds.IQ4_XS: [0], kinds.MXFP4: []}
    for kind, at in scales.items():
        block, size = gguf.GGML_QUANT_SIZES[kind]
        cols = max(block, 64)
        data = rng.integers(0, 256, (5, cols // block * size), dtype=np.uint8)
        for row in data:
            for start in range(0, row.size, size):
                # Those of random bytes would be infinite now and then, and exponents out of FP16's reach.
                for place in at:
                    row[start + place:start + place + 2] = rng.normal(0, 0.02, 1).astype(np.float16).view(np.uint8)
                if kind == kinds.MXFP4:
                    row[start] = rng.integers(110, 130)
                # -128 is no integer of a Q8_0 that follows its reference.
                if kind == kinds.Q8_0:
                    row[start + 2:start + size] = row[start + 2:start + size].view(np.int8).clip(-127).view(np.uint8)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor(kind.name + ".values", gguf.quants.dequantize(data, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    wanted = sys.argv[2:]
    if not wanted:
        write_types()
    for number, (name, config, patch) in enumerate(models()):
        if wanted and name not in wanted:
            continue
        model = tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32, experts_implementation="eager").eval()
        randomise(model, number)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            convert(pathlib.Path(folder), FOLDER / (name + ".gguf"), patch)
        save_file(reference(model.double()), FOLDER / (name + ".reference.safetensors"))
