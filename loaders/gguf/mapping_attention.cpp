// Attention, rotation, and the architectures that have nothing else: Llama, Granite, Mistral,
// Qwen2, Qwen3.
#include <cmath>

#include "loaders/gguf/dequantize.h"
#include "loaders/gguf/mapping.h"
#include "loaders/safetensors.h"

namespace klens {
namespace {

constexpr GgufNameRow kMlp[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_gate.bias", "mlp.gate_proj.bias"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_up.bias", "mlp.up_proj.bias"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_down.bias", "mlp.down_proj.bias"},
};

// Everything but the name. `paired`: the converter paired rows of queries and keys.
void map_dense(GgufMapping& map, bool paired) {
  map.require("expert_count", 0);
  map.require("expert_used_count", 0);
  map.ignore_keys({"rope.scaling.finetuned", "pooling_type"});
  auto& config = map.config();
  config["intermediate_size"] = map.common_integer("feed_forward_length");
  config["rms_norm_eps"] = map.number("attention.layer_norm_rms_epsilon");
  config["hidden_act"] = "silu";
  config["attention_bias"] = map.has_in_any_block("attn_q.bias");
  config["mlp_bias"] = map.has_in_any_block("ffn_gate.bias");
  map.rope_config(map.attention_config());
  for (int64_t i = 0; i < map.blocks(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    map.rename_in_block(i, layer, kMlp);
    map.attention(i, layer + "self_attn.", paired);
  }
}

void begin(GgufMapping& map, const char* name, const char* type) {
  map.begin(name, type, "model.embed_tokens.weight", "model.norm.weight");
}

}  // namespace

int64_t GgufMapping::attention_config() {
  heads_ = common_integer("attention.head_count");
  kv_heads_ = common_integer("attention.head_count_kv", heads_);
  if (heads_ == 0 || kv_heads_ == 0)
    file_.fail("key " + key("attention.head_count") + " or " + key("attention.head_count_kv") +
               " is 0, but there is attention" + "; convert the model again");
  const int64_t head_dim = integer("attention.key_length", hidden_ / heads_);
  require("attention.value_length", head_dim);
  config_["num_attention_heads"] = heads_;
  config_["num_key_value_heads"] = kv_heads_;
  config_["head_dim"] = head_dim;
  return head_dim;
}

void GgufMapping::attention(int64_t block, const std::string& prefix, bool paired) {
  const GgufChange queries = paired ? GgufChange::kPairedQueries : GgufChange::kNone;
  const GgufChange keys = paired ? GgufChange::kPairedKeys : GgufChange::kNone;
  const GgufNameRow rows[] = {
      {"attn_q.weight", "q_proj.weight", queries}, {"attn_q.bias", "q_proj.bias", queries},
      {"attn_k.weight", "k_proj.weight", keys},    {"attn_k.bias", "k_proj.bias", keys},
      {"attn_v.weight", "v_proj.weight"},          {"attn_v.bias", "v_proj.bias"},
      {"attn_output.weight", "o_proj.weight"},     {"attn_output.bias", "o_proj.bias"},
      {"attn_q_norm.weight", "q_norm.weight"},     {"attn_k_norm.weight", "k_norm.weight"},
  };
  rename_in_block(block, prefix, rows);
}

void GgufMapping::rope_factors(int64_t dims) {
  const GgufTensor* found = take("rope_freqs.weight");
  if (!found) return;
  const auto count = static_cast<size_t>(dims / 2);
  if (found->shape != std::vector<int64_t>{dims / 2} || found->type != GgmlType::kF32)
    file_.unsupported("tensor rope_freqs.weight has type " +
                      std::string(ggml_type_info(found->type).name) + " and shape " +
                      shape_text(found->shape) + ", not F32 and [" + std::to_string(dims / 2) +
                      "]" + kGgufCure);
  std::vector<float> factors(count);
  dequantize_row(found->type, found->bytes.data(), dims / 2, factors.data());
  std::vector<double> list;
  for (const float factor : factors) {
    if (!(factor > 0) || !std::isfinite(factor))
      file_.fail(
          "tensor rope_freqs.weight holds a factor that is not above 0"
          "; convert the model again");
    list.push_back(shortest_number(factor).get<double>());
  }
  config_["rope_scaling"] = {{"rope_type", "factors"}, {"factors", list}};
}

void GgufMapping::rope_config(int64_t head_dim) {
  config_["rope_theta"] = number("rope.freq_base", 10000.0f);
  const int64_t dims = integer("rope.dimension_count", head_dim);
  if (dims != head_dim) {
    const double partial = static_cast<double>(dims) / static_cast<double>(head_dim);
    if (dims > head_dim || static_cast<int64_t>(partial * static_cast<double>(head_dim)) != dims)
      file_.unsupported("key " + key("rope.dimension_count") + " is " + std::to_string(dims) +
                        " for heads of " + std::to_string(head_dim) + " channels" + kGgufCure);
    config_["partial_rotary_factor"] = partial;
  }
  rope_factors(dims);
  std::string type = file_.text(key("rope.scaling.type"), "none");
  if (type == "none" && has_key("rope.scale_linear")) type = "linear";
  if (type == "none") {
    ignore_keys({"rope.scaling.factor", "rope.scaling.original_context_length"});
    return;
  }
  if (config_.contains("rope_scaling"))
    file_.unsupported("has both rope_freqs.weight and key " + key("rope.scaling.type") + kGgufCure);
  auto& scaling = config_["rope_scaling"];
  if (type != "linear" && type != "yarn")
    file_.unsupported("key " + key("rope.scaling.type") + " is \"" + shown_name(type) +
                      "\", klens has none, linear and yarn" + kGgufCure);
  scaling["rope_type"] = type;
  scaling["factor"] =
      has_key("rope.scale_linear") ? number("rope.scale_linear") : number("rope.scaling.factor");
  if (has_key("rope.scaling.original_context_length"))
    scaling["original_max_position_embeddings"] = integer("rope.scaling.original_context_length");
  if (type == "yarn") {
    if (has_key("rope.scaling.yarn_beta_fast"))
      scaling["beta_fast"] = number("rope.scaling.yarn_beta_fast");
    if (has_key("rope.scaling.yarn_beta_slow"))
      scaling["beta_slow"] = number("rope.scaling.yarn_beta_slow");
  }
}

void map_llama(GgufMapping& map) {
  // Mistral goes by the same name; only its window tells it from Llama, where it has one.
  const bool windowed = map.integer("attention.sliding_window", 0) > 0;
  begin(map, windowed ? "MistralForCausalLM" : "LlamaForCausalLM", windowed ? "mistral" : "llama");
  if (windowed) map.config()["sliding_window"] = map.integer("attention.sliding_window");
  map_dense(map, true);
}

void map_granite(GgufMapping& map) {
  begin(map, "GraniteForCausalLM", "granite");
  map_dense(map, true);
  set_granite_scales(map, map.config()["head_dim"].get<int64_t>());
}

void map_qwen2(GgufMapping& map) {
  begin(map, "Qwen2ForCausalLM", "qwen2");
  map.config()["use_sliding_window"] = false;
  map_dense(map, false);
}

void map_qwen3(GgufMapping& map) {
  begin(map, "Qwen3ForCausalLM", "qwen3");
  map.config()["use_sliding_window"] = false;
  map_dense(map, false);
}

}  // namespace klens
