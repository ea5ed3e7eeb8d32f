// Nemotron-H: Mamba-2, attention without rotation, MLPs and experts, one of them in each block.
#include "loaders/gguf/mapping.h"

namespace klens {
namespace {

constexpr GgufNameRow kNemotronLayer[] = {
    {"attn_norm.weight", "norm.weight"},
    {"ffn_up.weight", "mixer.up_proj.weight"},
    {"ffn_up.bias", "mixer.up_proj.bias"},
    {"ffn_down.weight", "mixer.down_proj.weight"},
    {"ffn_down.bias", "mixer.down_proj.bias"},
    {"ffn_gate_inp.weight", "mixer.gate.weight"},
    {"exp_probs_b.bias", "mixer.gate.e_score_correction_bias"},
    {"ffn_up_shexp.weight", "mixer.shared_experts.up_proj.weight"},
    {"ffn_down_shexp.weight", "mixer.shared_experts.down_proj.weight"},
    {"ffn_latent_down.weight", "mixer.fc1_latent_proj.weight"},
    {"ffn_latent_up.weight", "mixer.fc2_latent_proj.weight"},
};

// The experts of Nemotron 3.
void nemotron_experts(GgufMapping& map) {
  auto& config = map.config();
  config["n_routed_experts"] = map.integer("expert_count");
  config["num_experts_per_tok"] = map.common_integer("expert_used_count");
  config["moe_intermediate_size"] = map.common_integer("expert_feed_forward_length");
  config["moe_shared_expert_intermediate_size"] = map.integer("expert_shared_feed_forward_length");
  config["n_shared_experts"] = map.integer("expert_shared_count", 1);
  config["norm_topk_prob"] = map.file().boolean(map.key("expert_weights_norm"), false);
  config["routed_scaling_factor"] = map.number("expert_weights_scale", 1.0f);
  config["n_group"] = std::max<int64_t>(map.integer("expert_group_count", 1), 1);
  config["topk_group"] = std::max<int64_t>(map.integer("expert_group_used_count", 1), 1);
  if (map.integer("moe_latent_size", 0) > 0)
    config["moe_latent_size"] = map.integer("moe_latent_size");
}

char nemotron_kind(const GgufMapping& map, int64_t block) {
  if (map.has_in_block(block, "ssm_in.weight")) return 'M';
  if (map.has_in_block(block, "attn_q.weight")) return '*';
  return map.has_in_block(block, "ffn_gate_inp.weight") ? 'E' : '-';
}

void nemotron_config(GgufMapping& map) {
  auto& config = map.config();
  config["mamba_num_heads"] = map.integer("ssm.time_step_rank");
  config["mamba_head_dim"] = map.ssm_head_dim();
  config["ssm_state_size"] = map.integer("ssm.state_size");
  config["n_groups"] = map.integer("ssm.group_count");
  config["conv_kernel"] = map.integer("ssm.conv_kernel");
  config["layer_norm_epsilon"] = map.has_key("attention.layer_norm_rms_epsilon")
                                     ? map.number("attention.layer_norm_rms_epsilon")
                                     : map.number("attention.layer_norm_epsilon");
  map.ignore_keys({"attention.layer_norm_epsilon", "rope.dimension_count", "rope.freq_base",
                   "rope.scaling.finetuned"});
  config["use_conv_bias"] = map.has_in_any_block("ssm_conv1d.bias");
  config["use_bias"] = config["mamba_proj_bias"] = map.has_in_any_block("ssm_in.bias");
  config["attention_bias"] = map.has_in_any_block("attn_q.bias");
  config["mlp_bias"] = map.has_in_any_block("ffn_up.bias");
  config["mamba_hidden_act"] = "silu";
  config["mlp_hidden_act"] = "relu2";
  set_no_time_step_limit(map);
}

}  // namespace

void map_nemotron_h(GgufMapping& map) {
  if (const int64_t extra = map.integer("nextn_predict_layers", 0); extra > 0)
    map.leave_out_last_blocks(extra);
  map.begin("NemotronHForCausalLM", "nemotron_h", "backbone.embeddings.weight",
            "backbone.norm_f.weight");
  nemotron_config(map);
  map.attention_config();
  // Newer converters write the settings of experts for models that have none.
  const bool experts = map.has_in_any_block("ffn_gate_inp.weight");
  map.ignore_keys({"feed_forward_length", "expert_count", "expert_used_count", "moe_latent_size",
                   "expert_feed_forward_length", "expert_shared_feed_forward_length",
                   "expert_shared_count", "expert_weights_norm", "expert_weights_scale",
                   "expert_group_count", "expert_group_used_count"});
  if (experts) nemotron_experts(map);
  std::string pattern;
  int64_t width = 0;
  for (int64_t i = 0; i < map.blocks(); ++i) {
    pattern += nemotron_kind(map, i);
    const std::string layer = "backbone.layers." + std::to_string(i) + ".",
                      block = "blk." + std::to_string(i) + ".";
    if (width == 0 && pattern.back() == '-') width = map.tensor(block + "ffn_up.weight").rows();
    map.rename_in_block(i, layer, kNemotronLayer);
    map_mamba2_mixer(map, i, layer + "mixer.");
    map.attention(i, layer + "mixer.", true);
    for (const char* part : {"up", "down"})
      map.split_experts(block + "ffn_" + part + "_exps.weight", layer + "mixer.experts.",
                        std::string(".") + part + "_proj.weight");
  }
  if (width > 0) map.config()["intermediate_size"] = width;
  map.config()["hybrid_override_pattern"] = pattern;
}

}  // namespace klens
