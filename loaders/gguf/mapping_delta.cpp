// Qwen3-Next and Qwen3.5: Gated DeltaNet and attention with gates.
#include "loaders/gguf/mapping.h"

namespace klens {
namespace {

constexpr GgufNameRow kDeltaLayer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_qkv.weight", "linear_attn.in_proj_qkv.weight"},
    {"attn_gate.weight", "linear_attn.in_proj_z.weight"},
    {"ssm_beta.weight", "linear_attn.in_proj_b.weight"},
    {"ssm_alpha.weight", "linear_attn.in_proj_a.weight"},
    {"ssm_conv1d.weight", "linear_attn.conv1d.weight", GgufChange::kConvolution},
    {"ssm_dt.bias", "linear_attn.dt_bias", GgufChange::kVector},
    {"ssm_a", "linear_attn.A_log", GgufChange::kVectorOfNegatedExp},
    {"ssm_norm.weight", "linear_attn.norm.weight"},
    {"ssm_out.weight", "linear_attn.out_proj.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", GgufChange::kRow},
    {"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight"},
    {"ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight"},
    {"ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight"},
};

void delta_config(GgufMapping& map) {
  auto& config = map.config();
  config["linear_num_value_heads"] = map.integer("ssm.time_step_rank");
  config["linear_value_head_dim"] = map.ssm_head_dim();
  config["linear_num_key_heads"] = map.integer("ssm.group_count");
  config["linear_key_head_dim"] = map.integer("ssm.state_size");
  config["linear_conv_kernel_dim"] = map.integer("ssm.conv_kernel");
  config["rms_norm_eps"] = map.number("attention.layer_norm_rms_epsilon");
  config["hidden_act"] = "silu";
  config["attention_bias"] = map.has_in_any_block("attn_q.bias");
  // The converter made norms whole.
  config["rms_norm_offset"] = 0.0;
  config["intermediate_size"] = std::max<int64_t>(map.common_integer("feed_forward_length", 0), 1);
  // Sections of positions, of which a text has one kind; kinds of layers, which their tensors tell.
  map.ignore_keys(
      {"full_attention_interval", "attention.recurrent_layers", "rope.dimension_sections"});
  map.rope_config(map.attention_config());
  if (!config.contains("partial_rotary_factor")) config["partial_rotary_factor"] = 1.0;
}

void experts_config(GgufMapping& map) {
  auto& config = map.config();
  config["num_experts"] = map.integer("expert_count");
  config["num_experts_per_tok"] = map.common_integer("expert_used_count");
  config["moe_intermediate_size"] = map.common_integer("expert_feed_forward_length");
  config["shared_expert_intermediate_size"] = map.integer("expert_shared_feed_forward_length");
  config["norm_topk_prob"] = true;
  map.ignore_keys({"expert_shared_count", "expert_gating_func", "expert_weights_norm"});
}

// ssm_ba has for each key head the rows of beta of its value heads, then those of the decay.
void split_beta_and_decay(GgufMapping& map, int64_t block, const std::string& layer) {
  const std::string name = "blk." + std::to_string(block) + ".ssm_ba.weight";
  if (!map.has_tensor(name)) return;
  const int64_t heads = map.integer("ssm.time_step_rank"), groups = map.integer("ssm.group_count");
  map.split_rows(name, groups, heads / std::max<int64_t>(groups, 1),
                 {layer + "linear_attn.in_proj_b.weight", layer + "linear_attn.in_proj_a.weight"});
}

void experts(GgufMapping& map, int64_t block, const std::string& layer) {
  const std::string name = "blk." + std::to_string(block) + ".ffn_", to = layer + "mlp.experts";
  if (map.has_tensor(name + "gate_up_exps.weight")) {
    map.rename(name + "gate_up_exps.weight", to + ".gate_up_proj");
    map.rename(name + "down_exps.weight", to + ".down_proj");
    return;
  }
  for (const char* part : {"gate", "up", "down"})
    map.split_experts(name + part + "_exps.weight", to + ".",
                      std::string(".") + part + "_proj.weight");
}

void map_delta(GgufMapping& map, const char* name, const char* type, bool tiled) {
  // What predicts further tokens.
  if (const int64_t extra = map.integer("nextn_predict_layers", 0); extra > 0)
    map.leave_out_last_blocks(extra);
  map.begin(name, type, "model.embed_tokens.weight", "model.norm.weight");
  delta_config(map);
  // Where every key head has one value head both orders are the same.
  if (tiled) map.config()["linear_value_heads"] = "tiled";
  if (map.has_in_any_block("ffn_gate_inp.weight")) experts_config(map);
  for (const char* list : {"layer_types", "mlp_only_layers"})
    map.config()[list] = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const bool attends = map.has_in_block(i, "attn_q.weight");
    map.config()["layer_types"].push_back(attends ? "full_attention" : "linear_attention");
    if (!map.has_in_block(i, "ffn_gate_inp.weight")) map.config()["mlp_only_layers"].push_back(i);
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    map.rename_in_block(i, layer, kDeltaLayer);
    split_beta_and_decay(map, i, layer);
    map.attention(i, layer + "self_attn.", false);
    experts(map, i, layer);
  }
}

}  // namespace

void map_qwen3_next(GgufMapping& map) {
  map_delta(map, "Qwen3NextForCausalLM", "qwen3_next", false);
}

void map_qwen3_5(GgufMapping& map) { map_delta(map, "Qwen3_5ForCausalLM", "qwen3_5_text", true); }

void map_qwen3_5_moe(GgufMapping& map) {
  map_delta(map, "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", true);
}

}  // namespace klens
