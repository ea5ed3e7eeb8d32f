// Falcon-H1 (arXiv 2507.22448): attention and Mamba-2 side by side on the same input, then an MLP;
// multipliers everywhere.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

Mamba2Shape falcon_mamba_shape(const Config& config, const ModelSizes& sizes) {
  std::optional<int64_t> width;
  if (config.has({"mamba_d_ssm"})) width = config.integer({"mamba_d_ssm"}, 1, kMaxWidth);
  Mamba2Shape shape = mamba_d_shape(config, sizes.d_model, width);
  shape.out_bias = config.boolean({"projectors_bias"}, false);
  if (config.boolean({"mamba_rms_norm"}, false)) shape.norm_eps = sizes.norm_eps;
  shape.norm_before_gate = config.boolean({"mamba_norm_before_gate"}, true);
  if (!config.boolean({"mamba_use_mlp"}, true))
    config.unsupported("mamba_use_mlp false is not what Falcon-H1 does");
  if (config.has_content("attn_layer_indices"))
    config.unsupported("attn_layer_indices asks for layers without attention, which klens lacks");
  return shape;
}

// Factors of a layer, read once.
struct Multipliers {
  float attention_in, attention_out, key, ssm_in, ssm_out;
  std::vector<float> ssm, mlp;  // z, x, B, C, dt; gate, down
};

Multipliers read_multipliers(const Config& config) {
  return {.attention_in = multiplier(config, "attention_in_multiplier"),
          .attention_out = multiplier(config, "attention_out_multiplier"),
          .key = multiplier(config, "key_multiplier"),
          .ssm_in = multiplier(config, "ssm_in_multiplier"),
          .ssm_out = multiplier(config, "ssm_out_multiplier"),
          .ssm = multipliers(config, "ssm_multipliers", 5),
          .mlp = multipliers(config, "mlp_multipliers", 2)};
}

void scale(ParallelSpec& spec, const Multipliers& by) {
  spec.mamba.input_scale = by.ssm_in;
  spec.mamba.output_scale = by.ssm_out;
  spec.mamba.z_scale = by.ssm[0];
  spec.mamba.x_scale = by.ssm[1];
  spec.mamba.b_scale = by.ssm[2];
  spec.mamba.c_scale = by.ssm[3];
  spec.mamba.dt_scale = by.ssm[4];
  spec.attention.input_scale = by.attention_in;
  spec.attention.output_scale = by.attention_out;
  spec.attention.core.key_scale = by.key;
}

}  // namespace

ModelSpec build_falcon_h1(const Config& config, const HasTensor& has) {
  const ModelSizes sizes = model_sizes(config, 1e-5);
  const int64_t d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  require_silu(config, "hidden_act");
  const Mamba2Shape mamba = falcon_mamba_shape(config, sizes);
  AttentionShape attention_sizes = attention_shape(config, sizes.d_model);
  const bool mlp_bias = config.boolean({"mlp_bias"}, false);
  const Multipliers by = read_multipliers(config);

  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  attention_sizes.rope = builder.rope(rope(config, attention_sizes.head_dim));
  builder.spec().embedding_scale = multiplier(config, "embedding_multiplier");
  builder.spec().logit_scale = multiplier(config, "lm_head_multiplier");
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const NormSpec norm = builder.norm(layer + "input_layernorm", sizes.d_model, sizes.norm_eps);
    ParallelSpec parallel;
    parallel.mamba = mamba2(builder, layer + "mamba.", mamba);
    parallel.attention = attention(builder, layer + "self_attn.", attention_sizes);
    scale(parallel, by);
    builder.add({.norm = norm, .mixer = std::move(parallel), .shared = std::nullopt});

    const NormSpec second = builder.norm(layer + "pre_ff_layernorm", sizes.d_model, sizes.norm_eps);
    MlpSpec mlp = gated_mlp(builder, layer + "feed_forward.", d_inner, Activation::kSilu, mlp_bias);
    mlp.gate_scale = by.mlp[0];
    mlp.output_scale = by.mlp[1];
    builder.add({.norm = second, .mixer = std::move(mlp), .shared = std::nullopt});
  }
  return builder.finish("model.final_layernorm", sizes.norm_eps);
}

}  // namespace klens
