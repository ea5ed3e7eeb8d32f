// Llama's kind of attention and MLP, which most architectures share.
#include <cmath>

#include "loaders/architectures/spec_builder.h"

namespace klens {

AttentionShape attention_shape(const Config& config, int64_t d_model) {
  AttentionShape shape;
  shape.d_in = d_model;
  shape.heads = config.integer({"num_attention_heads"}, 1, kMaxHeads);
  shape.kv_heads = config.integer({"num_key_value_heads"}, 1, kMaxHeads, shape.heads);
  if (shape.heads % shape.kv_heads != 0)
    config.fail("num_key_value_heads does not divide num_attention_heads");
  if (!config.has({"head_dim", "attention_head_dim"}) && d_model % shape.heads != 0)
    config.fail("num_attention_heads does not divide hidden_size");
  shape.head_dim = config.integer({"head_dim", "attention_head_dim"}, 1, kMaxWidth / shape.heads,
                                  d_model / shape.heads);
  shape.qkv_bias = shape.o_bias = config.boolean({"attention_bias"}, false);
  return shape;
}

AttentionCoreSpec attention_core(SpecBuilder& builder, const AttentionShape& shape) {
  AttentionCoreSpec core;
  core.heads = shape.heads;
  core.scale =
      shape.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim))));
  core.rope = shape.rope;
  core.cache = builder.cache({.kv_heads = shape.kv_heads,
                              .k_dim = shape.head_dim,
                              .v_dim = shape.head_dim,
                              .reach = shape.reach});
  return core;
}

AttentionSpec attention(SpecBuilder& builder, const std::string& prefix,
                        const AttentionShape& shape) {
  const int64_t q = shape.heads * shape.head_dim, kv = shape.kv_heads * shape.head_dim;
  const int64_t q_rows = shape.gated ? 2 * q : q;
  AttentionSpec spec;
  spec.qkv = {builder.projection(prefix + "q_proj", q_rows, shape.d_in, shape.qkv_bias),
              builder.projection(prefix + "k_proj", kv, shape.d_in, shape.qkv_bias),
              builder.projection(prefix + "v_proj", kv, shape.d_in, shape.qkv_bias)};
  spec.o_proj = builder.projection(prefix + shape.o_proj, builder.d_model(), q, shape.o_bias);
  spec.gated = shape.gated;
  spec.core = attention_core(builder, shape);
  if (shape.qk_norm_eps) {
    const int64_t q_cols = shape.norm_over_heads ? q : shape.head_dim;
    const int64_t k_cols = shape.norm_over_heads ? kv : shape.head_dim;
    spec.core.q_norm = builder.norm(prefix + shape.q_norm, q_cols, *shape.qk_norm_eps);
    spec.core.k_norm = builder.norm(prefix + shape.k_norm, k_cols, *shape.qk_norm_eps);
    spec.core.q_norm->offset = spec.core.k_norm->offset = shape.qk_norm_offset;
    spec.core.norm_over_heads = shape.norm_over_heads;
  }
  return spec;
}

int64_t reach_of(std::optional<int64_t> window) {
  return window ? *window - 1 : std::numeric_limits<int64_t>::max();
}

MlpSpec gated_mlp(SpecBuilder& builder, const std::string& prefix, int64_t d_inner,
                  Activation activation, bool bias, const GatedNames& names) {
  const int64_t d_model = builder.d_model();
  return {.in = {builder.projection(prefix + names.gate, d_inner, d_model, bias, "gate_proj"),
                 builder.projection(prefix + names.up, d_inner, d_model, bias, "up_proj")},
          .down = builder.projection(prefix + names.down, d_model, d_inner, bias, "down_proj"),
          .d_inner = d_inner,
          .gated = true,
          .activation = activation};
}

MlpSpec fused_mlp(SpecBuilder& builder, const std::string& in, const std::string& out,
                  int64_t d_inner, Activation activation, bool bias) {
  const int64_t d_model = builder.d_model();
  return {.in = {builder.projection(in, 2 * d_inner, d_model, bias)},
          .down = builder.projection(out, d_model, d_inner, bias),
          .d_inner = d_inner,
          .gated = true,
          .activation = activation};
}

MlpSpec plain_mlp(SpecBuilder& builder, const std::string& prefix, int64_t width, int64_t d_inner,
                  Activation activation, bool bias) {
  return {.in = {builder.projection(prefix + "up_proj", d_inner, width, bias)},
          .down = builder.projection(prefix + "down_proj", width, d_inner, bias),
          .d_inner = d_inner,
          .gated = false,
          .activation = activation};
}

MlpSpec stacked_expert(SpecBuilder& builder, const StackedExperts& e, int64_t index) {
  const int64_t in_rows = e.gated ? 2 * e.d_inner : e.d_inner;
  const auto projection = [&](MatrixId matrix) {
    return ProjectionSpec{.matrix = matrix, .bias = std::nullopt, .adapter = std::nullopt};
  };
  MlpSpec spec;
  spec.in = {projection(builder.stacked(e.in, index, e.count, in_rows, e.width,
                                        e.gated ? "gate_up_proj" : "up_proj"))};
  spec.down = projection(builder.stacked(e.down, index, e.count, e.width, e.d_inner, "down_proj"));
  spec.d_inner = e.d_inner;
  spec.gated = e.gated;
  spec.activation = e.activation;
  return spec;
}

Activation activation(const Config& config, const char* key, const char* fallback) {
  const std::string name = config.text({key}, fallback);
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "relu2") return Activation::kRelu2;
  config.unsupported(std::string(key) + " \"" + name +
                     "\" is not one that klens has (silu, gelu, relu2)");
}

}  // namespace klens
