// Mamba-1 and Mamba-2 mixers under the names that all architectures share.
#include <algorithm>
#include <array>
#include <cmath>

#include "loaders/architectures/spec_builder.h"
#include "loaders/json.h"

namespace klens {

void require_silu(const Config& config, const char* key) {
  const std::string name = config.text({key}, "silu");
  if (name != "silu" && name != "swish")
    config.unsupported(std::string(key) + " \"" + name +
                       "\" is not silu, the activation of Mamba blocks");
}

ModelSizes original_sizes(const Config& config) {
  if (!config.boolean({"rms_norm"}, true))
    config.unsupported("rms_norm false asks for layer norms, which klens lacks");
  if (config.integer({"d_intermediate"}, 0, kMaxWidth, 0) != 0)
    config.unsupported("d_intermediate asks for MLP layers, which klens lacks in this layout");
  for (const char* key : {"attn_layer_idx", "attn_cfg"})
    if (config.has_content(key))
      config.unsupported(std::string(key) +
                         " asks for attention layers, which klens lacks in this layout");
  const int64_t multiple = config.integer({"pad_vocab_size_multiple"}, 1, 65536, 8);
  const int64_t vocab = config.integer({"vocab_size"}, 1, kMaxVocab);
  return {.d_model = config.integer({"d_model"}, 1, kMaxWidth),
          .layers = config.integer({"n_layer"}, 1, kMaxBlocks),
          .vocab = (vocab + multiple - 1) / multiple * multiple,
          .norm_eps = 1e-5f};
}

void refuse_unknown_layer_settings(const Config& ssm, const char* layer) {
  // What mamba_ssm takes and klens need not know: how weights were made, and how kernels run.
  constexpr std::string_view kNeutral[] = {
      "A_init_range",  "chunk_size",      "conv_init", "device", "dt_init",   "dt_init_floor",
      "dt_max",        "dt_min",          "dt_scale",  "dtype",  "layer_idx", "sequence_parallel",
      "use_fast_path", "use_mem_eff_path"};
  for (const std::string& key : ssm.unread())
    if (std::find(std::begin(kNeutral), std::end(kNeutral), key) == std::end(kNeutral))
      ssm.unsupported("key " + brief(key) + " is not one that klens knows for " + layer);
}

Mamba2Spec mamba2(SpecBuilder& builder, const std::string& prefix, const Mamba2Shape& s) {
  const Config& config = builder.config();
  if (s.d_inner != s.heads * s.head_dim)
    config.fail("the Mamba-2 heads (" + std::to_string(s.heads) + " of " +
                std::to_string(s.head_dim) + " channels) do not make up its width of " +
                std::to_string(s.d_inner));
  if (s.heads % s.groups != 0) config.fail("the Mamba-2 groups do not divide its heads");
  const int64_t bc = 2 * s.groups * s.d_state, conv = s.d_inner + bc;
  Mamba2Spec spec;
  spec.d_inner = s.d_inner;
  spec.heads = s.heads;
  spec.head_dim = s.head_dim;
  spec.groups = s.groups;
  spec.d_state = s.d_state;
  spec.d_conv = s.d_conv;
  spec.in_proj = builder.projection(prefix + "in_proj", s.d_inner + conv + s.heads,
                                    builder.d_model(), s.in_bias);
  builder.cut(spec.in_proj.matrix, std::array{2 * s.d_inner, bc});  // z, x | B, C | dt
  spec.conv_weight = builder.small(prefix + "conv1d.weight", {conv, 1, s.d_conv});
  if (s.conv_bias) spec.conv_bias = builder.small(prefix + "conv1d.bias", {conv});
  spec.dt_bias = builder.small(prefix + "dt_bias", {s.heads});
  spec.a_log = builder.small(prefix + "A_log", {s.heads});
  spec.d = builder.small(prefix + "D", {s.heads});
  if (s.norm_eps) spec.norm = builder.norm(prefix + "norm", s.d_inner, *s.norm_eps);
  spec.norm_groups = s.groups;  // which divide d_inner, as they divide the heads
  spec.norm_before_gate = s.norm_before_gate;
  spec.dt_min = s.dt_min;
  spec.dt_max = s.dt_max;
  spec.f32_state = wants_f32_states(config);
  spec.out_proj = builder.projection(prefix + "out_proj", builder.d_model(), s.d_inner, s.out_bias);
  return spec;
}

Mamba2Shape mamba_d_shape(const Config& config, int64_t d_model, std::optional<int64_t> d_inner) {
  Mamba2Shape shape;
  shape.heads = config.integer({"mamba_n_heads"}, 1, kMaxHeads, 128);
  shape.d_inner = d_inner.value_or(config.integer({"mamba_expand"}, 1, 64, 2) * d_model);
  // "auto" is a published spelling of the default.
  shape.head_dim = config.is_text("mamba_d_head") ? shape.d_inner / shape.heads
                                                  : config.integer({"mamba_d_head"}, 1, kMaxWidth,
                                                                   shape.d_inner / shape.heads);
  shape.groups = config.integer({"mamba_n_groups"}, 1, kMaxHeads, 1);
  shape.d_state = config.integer({"mamba_d_state"}, 1, kMaxState, 256);
  shape.d_conv = config.integer({"mamba_d_conv"}, 1, kMaxConv, 4);
  shape.in_bias = shape.out_bias = config.boolean({"mamba_proj_bias"}, false);
  shape.conv_bias = config.boolean({"mamba_conv_bias"}, true);
  read_time_step_limit(config, shape);
  return shape;
}

void read_time_step_limit(const Config& config, Mamba2Shape& shape, const char* key) {
  const std::vector<double> limit = config.numbers(key);
  if (limit.empty()) return;
  if (limit.size() != 2 || !(limit[0] <= limit[1]) || limit[1] < 0)
    config.fail(std::string(key) + " is not a lower and an upper bound");
  shape.dt_min = static_cast<float>(std::max(limit[0], 0.0));
  shape.dt_max = static_cast<float>(limit[1]);
}

void refuse_time_step_limit(const Config& config) {
  Mamba2Shape shape;
  for (const char* key : {"time_step_limit", "dt_limit"}) read_time_step_limit(config, shape, key);
  if (shape.dt_min > 0 || std::isfinite(shape.dt_max))
    config.unsupported("time_step_limit bounds the time steps, which no Mamba-1 does");
}

// What a model's states are to be kept in, as vLLM and NVIDIA's recipes read it. Absent or "auto":
// as klens keeps them.
bool wants_f32_states(const Config& config) {
  const std::string type = config.text({"mamba_ssm_cache_dtype"}, "auto");
  for (const char* narrower : {"auto", "float16", "bfloat16"})
    if (type == narrower) return false;
  if (type != "float32")
    config.unsupported("mamba_ssm_cache_dtype \"" + type +
                       "\" is not one that klens has (auto, float32, float16, bfloat16)");
  return true;
}

Mamba1Shape mamba_dt_shape(const Config& config, int64_t d_model) {
  Mamba1Shape shape;
  shape.d_inner = config.integer({"mamba_expand"}, 1, 64, 2) * d_model;
  shape.d_state = config.integer({"mamba_d_state"}, 1, kMaxState, 16);
  shape.d_conv = config.integer({"mamba_d_conv"}, 1, kMaxConv, 4);
  shape.dt_rank = dt_rank(config, "mamba_dt_rank", d_model);
  shape.bias = config.boolean({"mamba_proj_bias"}, false);
  shape.conv_bias = config.boolean({"mamba_conv_bias"}, true);
  return shape;
}

SelectiveScanSpec scan_convolution(SpecBuilder& builder, const std::string& prefix,
                                   const Mamba1Shape& s) {
  refuse_time_step_limit(builder.config());
  wants_f32_states(builder.config());  // they are FP32 whatever it says
  SelectiveScanSpec spec;
  spec.d_inner = s.d_inner;
  spec.d_state = s.d_state;
  spec.d_conv = s.d_conv;
  spec.dt_rank = s.dt_rank;
  spec.conv_weight = builder.small(prefix + "conv1d.weight", {s.d_inner, 1, s.d_conv});
  if (s.conv_bias) spec.conv_bias = builder.small(prefix + "conv1d.bias", {s.d_inner});
  return spec;
}

SelectiveScanSpec selective_scan(SpecBuilder& builder, const std::string& prefix,
                                 const Mamba1Shape& s, const std::string& suffix) {
  SelectiveScanSpec spec = scan_convolution(builder, prefix, s);
  const std::string dt = prefix + "dt_proj" + suffix;
  spec.x_proj = {
      builder.matrix(prefix + "x_proj" + suffix, s.dt_rank + 2 * s.d_state, s.d_inner, "x_proj")};
  spec.dt_proj = {builder.matrix(dt, s.d_inner, s.dt_rank, "dt_proj")};
  spec.dt_bias = builder.small(dt + ".bias", {s.d_inner});
  spec.a_log = builder.small(prefix + "A_log" + suffix, {s.d_inner, s.d_state});
  spec.d = builder.small(prefix + "D" + suffix, {s.d_inner});
  return spec;
}

Mamba1Spec mamba1(SpecBuilder& builder, const std::string& prefix, const Mamba1Shape& s) {
  Mamba1Spec spec;
  spec.in_proj = builder.projection(prefix + "in_proj", 2 * s.d_inner, builder.d_model(), s.bias);
  spec.scan = selective_scan(builder, prefix, s);
  spec.out_proj = builder.projection(prefix + "out_proj", builder.d_model(), s.d_inner, s.bias);
  return spec;
}

int64_t dt_rank(const Config& config, const char* key, int64_t d_model) {
  if (!config.has({key}) || config.is_text(key)) {
    const std::string word = config.text({key}, "auto");
    if (word != "auto")
      config.fail(std::string(key) + " is \"" + word + "\", neither a number nor \"auto\"");
    return (d_model + 15) / 16;
  }
  return config.integer({key}, 1, kMaxWidth);
}

std::vector<std::string> layer_kinds(const Config& config, int64_t count) {
  const char* key = config.has({"layers_block_type"}) ? "layers_block_type" : "layer_types";
  std::vector<std::string> kinds = config.texts(key);
  if (kinds.empty()) return kinds;
  if (static_cast<int64_t>(kinds.size()) != count)
    config.fail(std::string(key) + " lists " + std::to_string(kinds.size()) + " layers of " +
                std::to_string(count));
  for (std::string& kind : kinds) {
    if (kind == "linear_attention" || kind == "mamba2") kind = "mamba";
    if (kind == "full_attention") kind = "attention";
    if (kind == "sliding_attention") kind = "sliding";
    const char* const known[] = {"mamba", "attention", "hybrid", "mlp", "moe", "sliding"};
    if (std::find(std::begin(known), std::end(known), kind) == std::end(known))
      config.unsupported(std::string(key) + " names a layer \"" + kind + "\", which klens lacks");
  }
  return kinds;
}

std::vector<bool> layers_of_kind(const Config& config, int64_t count, const std::string& kind) {
  std::vector<bool> found;
  for (const std::string& one : layer_kinds(config, count)) {
    if (one != kind && one != "mamba")
      config.unsupported("names a layer \"" + one + "\", which is neither mamba nor " + kind);
    found.push_back(one == kind);
  }
  return found;
}

}  // namespace klens
