// State space models: Mamba, FalconMamba, Mamba-2, and Jamba, which is half of one.
#include <algorithm>

#include "loaders/gguf/mapping.h"

namespace klens {
namespace {

constexpr GgufNameRow kMamba1[] = {
    {"ssm_in.weight", "in_proj.weight"},
    {"ssm_in.bias", "in_proj.bias"},
    {"ssm_conv1d.weight", "conv1d.weight", GgufChange::kConvolution},
    {"ssm_conv1d.bias", "conv1d.bias"},
    {"ssm_x.weight", "x_proj.weight"},
    {"ssm_dt.weight", "dt_proj.weight"},
    {"ssm_dt.bias", "dt_proj.bias"},
    {"ssm_dt_norm.weight", "dt_layernorm.weight"},
    {"ssm_b_norm.weight", "b_layernorm.weight"},
    {"ssm_c_norm.weight", "c_layernorm.weight"},
    {"ssm_a", "A_log", GgufChange::kNegatedExp},
    {"ssm_d", "D"},
    {"ssm_out.weight", "out_proj.weight"},
    {"ssm_out.bias", "out_proj.bias"},
};

constexpr GgufNameRow kNorm[] = {{"attn_norm.weight", "norm.weight"}};

constexpr GgufNameRow kJambaLayer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "pre_ff_layernorm.weight"},
    {"ffn_gate.weight", "feed_forward.gate_proj.weight"},
    {"ffn_up.weight", "feed_forward.up_proj.weight"},
    {"ffn_down.weight", "feed_forward.down_proj.weight"},
    {"ffn_gate_inp.weight", "feed_forward.router.weight"},
};

std::string layer_name(const std::string& prefix, int64_t block) {
  return prefix + "layers." + std::to_string(block) + ".";
}

// The mixers' settings in Mamba's own spelling.
void common_config(GgufMapping& map) {
  auto& config = map.config();
  config["state_size"] = map.integer("ssm.state_size");
  config["conv_kernel"] = map.integer("ssm.conv_kernel");
  config["layer_norm_epsilon"] = map.number("attention.layer_norm_rms_epsilon");
  config["use_bias"] = map.has_in_any_block("ssm_in.bias");
  config["use_conv_bias"] = map.has_in_any_block("ssm_conv1d.bias");
  config["hidden_act"] = "silu";
  map.require("feed_forward_length", 0);
  map.require("attention.head_count", 0);
}

// Jamba's config says "every period-th layer from offset on"; the file knows it layer by layer.
void set_period(GgufMapping& map, const std::string& what, const std::vector<bool>& chosen) {
  const auto count = static_cast<int64_t>(chosen.size());
  int64_t first = count, period = count + 1;
  for (int64_t i = 0; i < count; ++i) {
    if (!chosen[static_cast<size_t>(i)]) continue;
    if (first == count) {
      first = i;
    } else {
      period = i - first;
      break;
    }
  }
  for (int64_t i = 0; i < count; ++i)
    if (chosen[static_cast<size_t>(i)] != (i % period == first))
      map.file().unsupported(what +
                             " layers do not come at equal distances, which Jamba's config "
                             "cannot say; use the checkpoint that the file was made from");
  map.config()[what + "_layer_period"] = period;
  map.config()[what + "_layer_offset"] = first;
}

}  // namespace

void map_mamba2_mixer(GgufMapping& map, int64_t block, const std::string& prefix) {
  constexpr GgufNameRow kRows[] = {
      {"ssm_in.weight", "in_proj.weight"},
      {"ssm_in.bias", "in_proj.bias"},
      {"ssm_conv1d.weight", "conv1d.weight", GgufChange::kConvolution},
      {"ssm_conv1d.bias", "conv1d.bias"},
      {"ssm_dt.bias", "dt_bias"},
      {"ssm_a", "A_log", GgufChange::kVectorOfNegatedExp},
      {"ssm_d", "D", GgufChange::kVector},
      {"ssm_norm.weight", "norm.weight", GgufChange::kVector},
      {"ssm_out.weight", "out_proj.weight"},
      {"ssm_out.bias", "out_proj.bias"},
  };
  map.rename_in_block(block, prefix, kRows);
}

void set_no_time_step_limit(GgufMapping& map) {
  map.config()["time_step_limit"] = {0.0, {{"__float__", "Infinity"}}};
}

void map_mamba(GgufMapping& map) {
  const bool falcon = map.file().boolean(map.key("ssm.dt_b_c_rms"), false);
  map.begin(falcon ? "FalconMambaForCausalLM" : "MambaForCausalLM",
            falcon ? "falcon_mamba" : "mamba", "backbone.embeddings.weight",
            "backbone.norm_f.weight");
  common_config(map);
  map.config()["intermediate_size"] = map.integer("ssm.inner_size");
  map.config()["time_step_rank"] = map.integer("ssm.time_step_rank");
  map.require("ssm.group_count", 0);
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const std::string layer = layer_name("backbone.", i);
    map.rename_in_block(i, layer, kNorm);
    map.rename_in_block(i, layer + "mixer.", kMamba1);
  }
}

void map_mamba2(GgufMapping& map) {
  map.begin("Mamba2ForCausalLM", "mamba2", "backbone.embeddings.weight", "backbone.norm_f.weight");
  common_config(map);
  const int64_t heads = map.integer("ssm.time_step_rank"), inner = map.integer("ssm.inner_size");
  if (inner % heads != 0 || inner % map.hidden() != 0)
    map.file().unsupported("key " + map.key("ssm.inner_size") + " is " + std::to_string(inner) +
                           ", no multiple of the number of heads and of the model's width"
                           "; use the checkpoint that the file was made from");
  auto& config = map.config();
  config["num_heads"] = heads;
  config["head_dim"] = inner / heads;
  config["expand"] = inner / map.hidden();
  config["n_groups"] = map.integer("ssm.group_count");
  config["rms_norm"] = true;
  set_no_time_step_limit(map);
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const std::string layer = layer_name("backbone.", i);
    map.rename_in_block(i, layer, kNorm);
    map_mamba2_mixer(map, i, layer + "mixer.");
  }
}

void map_jamba(GgufMapping& map) {
  map.begin("JambaForCausalLM", "jamba", "model.embed_tokens.weight",
            "model.final_layernorm.weight");
  map.attention_config();
  map.ignore_keys({"rope.dimension_count", "rope.freq_base", "rope.scaling.finetuned"});
  auto& config = map.config();
  const int64_t inner = map.integer("ssm.inner_size");
  if (inner % map.hidden() != 0)
    map.file().unsupported("key " + map.key("ssm.inner_size") + " is " + std::to_string(inner) +
                           ", no multiple of the model's width"
                           "; use the checkpoint that the file was made from");
  config["intermediate_size"] = map.common_integer("feed_forward_length");
  config["rms_norm_eps"] = map.number("attention.layer_norm_rms_epsilon");
  config["hidden_act"] = "silu";
  config["mamba_expand"] = inner / map.hidden();
  config["mamba_d_state"] = map.integer("ssm.state_size");
  config["mamba_d_conv"] = map.integer("ssm.conv_kernel");
  config["mamba_dt_rank"] = map.integer("ssm.time_step_rank");
  config["mamba_conv_bias"] = map.has_in_any_block("ssm_conv1d.bias");
  config["mamba_proj_bias"] = map.has_in_any_block("ssm_in.bias");
  config["num_experts"] = std::max<int64_t>(map.integer("expert_count", 0), 1);
  config["num_experts_per_tok"] = std::max<int64_t>(map.integer("expert_used_count", 0), 1);

  std::vector<bool> attention, experts;
  for (int64_t i = 0; i < map.blocks(); ++i) {
    attention.push_back(map.has_in_block(i, "attn_q.weight"));
    experts.push_back(map.has_in_block(i, "ffn_gate_inp.weight"));
    const std::string layer = layer_name("model.", i), block = "blk." + std::to_string(i) + ".";
    map.rename_in_block(i, layer, kJambaLayer);
    map.rename_in_block(i, layer + "mamba.", kMamba1);
    map.attention(i, layer + "self_attn.", false);
    for (const char* part : {"gate", "up", "down"})
      map.split_experts(block + "ffn_" + part + "_exps.weight", layer + "feed_forward.experts.",
                        std::string(".") + part + "_proj.weight");
  }
  set_period(map, "attn", attention);
  set_period(map, "expert", experts);
}

}  // namespace klens
