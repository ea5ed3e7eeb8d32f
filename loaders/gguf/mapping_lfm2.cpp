// LFM2: gated short convolutions and attention, with and without experts.
#include "loaders/gguf/mapping.h"

namespace klens {
namespace {

constexpr GgufNameRow kLfm2Layer[] = {
    {"attn_norm.weight", "operator_norm.weight"},
    {"ffn_norm.weight", "ffn_norm.weight"},
    {"shortconv.in_proj.weight", "conv.in_proj.weight"},
    {"shortconv.in_proj.bias", "conv.in_proj.bias"},
    {"shortconv.conv.weight", "conv.conv.weight", GgufChange::kConvolution},
    {"shortconv.conv.bias", "conv.conv.bias"},
    {"shortconv.out_proj.weight", "conv.out_proj.weight"},
    {"shortconv.out_proj.bias", "conv.out_proj.bias"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.out_proj.weight"},
    {"attn_q_norm.weight", "self_attn.q_layernorm.weight"},
    {"attn_k_norm.weight", "self_attn.k_layernorm.weight"},
    {"ffn_gate.weight", "feed_forward.w1.weight"},
    {"ffn_up.weight", "feed_forward.w3.weight"},
    {"ffn_down.weight", "feed_forward.w2.weight"},
    {"ffn_gate_inp.weight", "feed_forward.gate.weight"},
    {"exp_probs_b.bias", "feed_forward.expert_bias"},
};

// What the GGUF's gate of experts is called that LFM2 has: a sigmoid.
constexpr int64_t kSigmoidGate = 2;

void map_lfm2_layers(GgufMapping& map, const char* name, const char* type) {
  map.begin(name, type, "model.embed_tokens.weight", "model.embedding_norm.weight");
  map.rename("token_embd_norm.weight", "model.embedding_norm.weight");  // older converters
  auto& config = map.config();
  config["intermediate_size"] = map.common_integer("feed_forward_length");
  config["norm_eps"] = map.number("attention.layer_norm_rms_epsilon");
  config["conv_L_cache"] = map.integer("shortconv.l_cache");
  config["conv_bias"] = map.has_in_any_block("shortconv.in_proj.bias");
  map.rope_config(map.attention_config());
  config["layer_types"] = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const bool attends = map.has_in_block(i, "attn_q.weight");
    config["layer_types"].push_back(attends ? "full_attention" : "conv");
    map.rename_in_block(i, "model.layers." + std::to_string(i) + ".", kLfm2Layer);
  }
}

}  // namespace

void map_lfm2(GgufMapping& map) {
  map_lfm2_layers(map, "Lfm2ForCausalLM", "lfm2");
  map.config()["block_auto_adjust_ff_dim"] = false;  // the converter wrote what it comes to
}

void map_lfm2_moe(GgufMapping& map) {
  map_lfm2_layers(map, "Lfm2MoeForCausalLM", "lfm2_moe");
  map.require("expert_gating_func", kSigmoidGate);
  auto& config = map.config();
  config["num_dense_layers"] = map.integer("leading_dense_block_count", 0);
  config["num_experts"] = map.integer("expert_count");
  config["num_experts_per_tok"] = map.common_integer("expert_used_count");
  config["moe_intermediate_size"] = map.common_integer("expert_feed_forward_length");
  config["use_expert_bias"] = map.has_in_any_block("exp_probs_b.bias");
  config["norm_topk_prob"] = map.file().boolean(map.key("expert_weights_norm"), true);
  config["routed_scaling_factor"] = map.number("expert_weights_scale", 1.0f);
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const std::string name = "blk." + std::to_string(i) + ".ffn_",
                      to = "model.layers." + std::to_string(i) + ".feed_forward.experts.";
    map.split_experts(name + "gate_exps.weight", to, ".w1.weight");
    map.split_experts(name + "up_exps.weight", to, ".w3.weight");
    map.split_experts(name + "down_exps.weight", to, ".w2.weight");
  }
}

}  // namespace klens
