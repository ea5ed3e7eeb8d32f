// Mamba-2 and attention in one model: Falcon-H1, Granite hybrid, Bamba.
#include <cmath>

#include "loaders/gguf/mapping.h"

namespace klens {
namespace {

// ffn_norm goes without .weight in Falcon-H1's files.
constexpr GgufNameRow kPreFeedForward[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "pre_ff_layernorm.weight"},
    {"ffn_norm", "pre_ff_layernorm.weight"},
    {"ffn_gate.weight", "feed_forward.gate_proj.weight"},
    {"ffn_gate.bias", "feed_forward.gate_proj.bias"},
    {"ffn_up.weight", "feed_forward.up_proj.weight"},
    {"ffn_up.bias", "feed_forward.up_proj.bias"},
    {"ffn_down.weight", "feed_forward.down_proj.weight"},
    {"ffn_down.bias", "feed_forward.down_proj.bias"},
};

constexpr GgufNameRow kGraniteLayer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate_inp.weight", "block_sparse_moe.router.layer.weight"},
    {"ffn_gate_up_exps.weight", "block_sparse_moe.input_linear.weight"},
    {"ffn_down_exps.weight", "block_sparse_moe.output_linear.weight"},
    {"ffn_down_shexp.weight", "shared_mlp.output_linear.weight"},
    {"ffn_down.weight", "shared_mlp.output_linear.weight"},
};

// mamba_n_heads and the like, as Bamba, Granite and Falcon-H1 spell them.
void mamba_d_config(GgufMapping& map) {
  auto& config = map.config();
  config["mamba_n_heads"] = map.integer("ssm.time_step_rank");
  config["mamba_d_head"] = map.ssm_head_dim();
  config["mamba_n_groups"] = map.integer("ssm.group_count");
  config["mamba_d_state"] = map.integer("ssm.state_size");
  config["mamba_d_conv"] = map.integer("ssm.conv_kernel");
  config["mamba_conv_bias"] = map.has_in_any_block("ssm_conv1d.bias");
  config["mamba_proj_bias"] = map.has_in_any_block("ssm_in.bias");
  config["attention_bias"] = map.has_in_any_block("attn_q.bias");
  config["mlp_bias"] = map.has_in_any_block("ffn_up.bias");
  config["rms_norm_eps"] = map.number("attention.layer_norm_rms_epsilon");
  config["hidden_act"] = "silu";
  set_no_time_step_limit(map);
}

// Of files whose inner width follows from the model's.
void expand_config(GgufMapping& map) {
  const int64_t inner = map.integer("ssm.inner_size");
  if (inner % map.hidden() != 0)
    map.file().unsupported("key " + map.key("ssm.inner_size") + " is " + std::to_string(inner) +
                           ", no multiple of the model's width" + kGgufCure);
  map.config()["mamba_expand"] = inner / map.hidden();
}

// Granite's converter serves Bamba too, which alone rotates.
void map_bamba(GgufMapping& map) {
  map.begin("BambaForCausalLM", "bamba", "model.embed_tokens.weight",
            "model.final_layernorm.weight");
  mamba_d_config(map);
  expand_config(map);
  auto& config = map.config();
  config["intermediate_size"] = map.common_integer("feed_forward_length");
  map.rope_config(map.attention_config());
  // Bamba's default is one half; say what the file says.
  if (!config.contains("partial_rotary_factor")) config["partial_rotary_factor"] = 1.0;
  config["attn_layer_indices"] = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < map.blocks(); ++i) {
    if (map.has_in_block(i, "attn_q.weight")) config["attn_layer_indices"].push_back(i);
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    map.rename_in_block(i, layer, kPreFeedForward);
    map_mamba2_mixer(map, i, layer + "mamba.");
    map.attention(i, layer + "self_attn.", true);
  }
}

void granite_feed_forward(GgufMapping& map, int64_t block, const std::string& layer) {
  const std::string name = "blk." + std::to_string(block) + ".ffn_";
  map.join(name + "gate_exps.weight", name + "up_exps.weight",
           layer + "block_sparse_moe.input_linear.weight");
  map.join(name + "gate_shexp.weight", name + "up_shexp.weight",
           layer + "shared_mlp.input_linear.weight");
  map.join(name + "gate.weight", name + "up.weight", layer + "shared_mlp.input_linear.weight");
}

}  // namespace

void set_granite_scales(GgufMapping& map, int64_t head_dim) {
  auto& config = map.config();
  config["embedding_multiplier"] = map.number("embedding_scale", 1.0f);
  config["residual_multiplier"] = map.number("residual_scale", 1.0f);
  config["logits_scaling"] = map.number("logit_scale", 1.0f);
  config["attention_multiplier"] =
      map.has_key("attention.scale") ? map.number("attention.scale")
                                     : nlohmann::json(1 / std::sqrt(static_cast<double>(head_dim)));
}

void map_falcon_h1(GgufMapping& map) {
  map.begin("FalconH1ForCausalLM", "falcon_h1", "model.embed_tokens.weight",
            "model.final_layernorm.weight");
  if (!map.has_tensor("output.weight"))
    map.file().unsupported(
        "lacks the tensor output.weight; the embedding has embedding_multiplier in it and "
        "cannot serve as the head; use the checkpoint that the file was made from");
  mamba_d_config(map);
  auto& config = map.config();
  config["mamba_d_ssm"] = map.integer("ssm.inner_size");
  config["mamba_rms_norm"] = map.has_in_any_block("ssm_norm.weight");
  config["mamba_norm_before_gate"] = false;
  config["projectors_bias"] = map.has_in_any_block("ssm_out.bias");
  config["intermediate_size"] = map.common_integer("feed_forward_length");
  map.rope_config(map.attention_config());
  // The converter multiplied the weights with them.
  for (const char* name :
       {"embedding_multiplier", "lm_head_multiplier", "attention_in_multiplier",
        "attention_out_multiplier", "key_multiplier", "ssm_in_multiplier", "ssm_out_multiplier"})
    config[name] = 1.0;
  config["ssm_multipliers"] = std::vector<double>(5, 1.0);
  config["mlp_multipliers"] = std::vector<double>(2, 1.0);
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    map.rename_in_block(i, layer, kPreFeedForward);
    map_mamba2_mixer(map, i, layer + "mamba.");
    map.attention(i, layer + "self_attn.", false);
  }
}

void map_granite_hybrid(GgufMapping& map) {
  const bool rotates = map.file().boolean(map.key("rope.scaling.finetuned"), true);
  if (rotates && map.has_in_any_block("ssm_in.weight")) return map_bamba(map);
  map.begin("GraniteMoeHybridForCausalLM", "granitemoehybrid", "model.embed_tokens.weight",
            "model.norm.weight");
  mamba_d_config(map);
  expand_config(map);
  auto& config = map.config();
  const int64_t head_dim = map.attention_config();
  map.rope_config(head_dim);
  set_granite_scales(map, head_dim);
  const int64_t width = map.common_integer("feed_forward_length");
  config["position_embedding_type"] = rotates ? "rope" : "nope";
  config["num_local_experts"] = map.integer("expert_count", 0);
  config["num_experts_per_tok"] = map.integer("expert_used_count", 0);
  config["intermediate_size"] = width;
  config["shared_intermediate_size"] = map.integer("expert_shared_feed_forward_length", width);
  config["layer_types"] = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < map.blocks(); ++i) {
    config["layer_types"].push_back(map.has_in_block(i, "attn_q.weight") ? "attention" : "mamba");
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    map.rename_in_block(i, layer, kGraniteLayer);
    map_mamba2_mixer(map, i, layer + "mamba.");
    map.attention(i, layer + "self_attn.", true);
    granite_feed_forward(map, i, layer);
  }
}

}  // namespace klens
