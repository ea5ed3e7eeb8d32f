// Granite 4 hybrids: Mamba-2 or attention, then an MLP, with or without a mixture of experts beside
// it; everything scaled by multipliers.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

struct ForwardShape {
  int64_t shared_width = 0, expert_width = 0, experts = 0, top_k = 0;
  Activation activation = Activation::kSilu;
};

ForwardShape forward_shape(const Config& config) {
  ForwardShape shape;
  shape.shared_width = config.integer({"shared_intermediate_size"}, 1, kMaxWidth, 1024);
  shape.experts = config.integer({"num_local_experts"}, 0, kMaxExperts, 8);
  shape.expert_width = config.integer({"intermediate_size"}, 0, kMaxWidth, 11008);
  shape.top_k = config.integer({"num_experts_per_tok"}, 0, kMaxExperts, 2);
  if (shape.experts == 0) return shape;
  if (shape.expert_width == 0) config.fail("intermediate_size is 0, but there are experts");
  if (shape.top_k < 1 || shape.top_k > shape.experts)
    config.fail("num_experts_per_tok is not from 1 to num_local_experts");
  return shape;
}

MoeSpec granite_moe(SpecBuilder& builder, const std::string& prefix, const ForwardShape& shape) {
  // Published names, or those of newer programs.
  const bool published = !builder.has(prefix + "experts.gate_up_proj");
  const auto pick = [&](const char* older, const char* newer) {
    return prefix + (published ? older : newer);
  };
  const StackedExperts experts{.in = pick("input_linear.weight", "experts.gate_up_proj"),
                               .down = pick("output_linear.weight", "experts.down_proj"),
                               .count = shape.experts,
                               .width = builder.d_model(),
                               .d_inner = shape.expert_width,
                               .gated = true,
                               .activation = shape.activation};
  MoeSpec spec;
  spec.scores = MoeSpec::Scores::kSoftmaxOfChosen;
  spec.top_k = shape.top_k;
  spec.router = builder.small(pick("router.layer.weight", "router.weight"),
                              {shape.experts, builder.d_model()});
  for (int64_t e = 0; e < shape.experts; ++e)
    spec.experts.push_back(stacked_expert(builder, experts, e));
  return spec;
}

// The second half of a layer, under `layer`.
BlockSpec forward(SpecBuilder& builder, const std::string& layer, const ForwardShape& shape,
                  float norm_eps) {
  BlockSpec block{
      .norm = builder.norm(layer + "post_attention_layernorm", builder.d_model(), norm_eps),
      .mixer = {},
      .shared = std::nullopt};
  std::optional<MoeSpec> experts;
  if (shape.experts > 0) experts = granite_moe(builder, layer + "block_sparse_moe.", shape);
  const std::string shared = layer + "shared_mlp.";
  MlpSpec mlp = fused_mlp(builder, shared + "input_linear", shared + "output_linear",
                          shape.shared_width, shape.activation);
  if (experts) {
    experts->shared = std::move(mlp);
    block.mixer = std::move(*experts);
  } else {
    block.mixer = std::move(mlp);
  }
  return block;
}

// position_embedding_type: rope, or none at all.
std::optional<RopeSpec> granite_rope(const Config& config, int64_t head_dim) {
  const std::string type = config.text({"position_embedding_type"}, "nope");
  RopeSpec read = rope(config, head_dim);
  if (type == "rope") return read;
  if (type != "nope")
    config.unsupported("position_embedding_type \"" + type +
                       "\" is not one that klens has (rope, nope)");
  return std::nullopt;
}

}  // namespace

ModelSpec build_granite_hybrid(const Config& config, const HasTensor& has) {
  const ModelSizes sizes = model_sizes(config, 1e-6);
  require_silu(config, "hidden_act");
  if (config.text({"normalization_function"}, "rmsnorm") != "rmsnorm")
    config.unsupported("normalization_function is not rmsnorm");
  const ForwardShape mlp = forward_shape(config);
  std::vector<bool> attends = layers_of_kind(config, sizes.layers, "attention");
  attends.resize(static_cast<size_t>(sizes.layers), false);
  Mamba2Shape mamba = mamba_d_shape(config, sizes.d_model);
  mamba.norm_eps = sizes.norm_eps;
  AttentionShape attention_sizes = attention_shape(config, sizes.d_model);
  attention_sizes.scale = multiplier(config, "attention_multiplier");
  const float residual = multiplier(config, "residual_multiplier");

  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  if (std::optional<RopeSpec> rotation = granite_rope(config, attention_sizes.head_dim))
    attention_sizes.rope = builder.rope(std::move(*rotation));
  builder.spec().embedding_scale = multiplier(config, "embedding_multiplier");
  builder.spec().logit_scale =
      static_cast<float>(1 / config.number({"logits_scaling"}, 1e-6, 1e6, 1));
  for (size_t i = 0; i < attends.size(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    BlockSpec mix{.norm = builder.norm(layer + "input_layernorm", sizes.d_model, sizes.norm_eps),
                  .mixer = {},
                  .shared = std::nullopt,
                  .residual_scale = residual};
    if (attends[i])
      mix.mixer = attention(builder, layer + "self_attn.", attention_sizes);
    else
      mix.mixer = mamba2(builder, layer + "mamba.", mamba);
    builder.add(std::move(mix));
    BlockSpec second = forward(builder, layer, mlp, sizes.norm_eps);
    second.residual_scale = residual;
    builder.add(std::move(second));
  }
  return builder.finish("model.norm", sizes.norm_eps);
}

}  // namespace klens
