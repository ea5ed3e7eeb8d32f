// Qwen3-Next and Qwen3.5: Gated DeltaNet, or attention with a gate, then a gated MLP or experts.
// Norms hold what their weights differ from 1 by, but for those within DeltaNet.
#include <algorithm>
#include <array>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

struct QwenMoeShape {
  int64_t experts = 0, top_k = 0, d_inner = 0, shared_width = 0;
  bool normalise = true;
};

struct QwenShape {
  ModelSizes sizes;
  DeltaNetShape delta;
  AttentionShape attention;
  int64_t d_inner = 0;  // of plain MLPs; 0: there are none
  QwenMoeShape moe;
  std::vector<bool> attends, sparse;  // by layer
  bool interleaved = false;           // Qwen3-Next's projections
  float norm_offset = 1;              // 0 in what a GGUF is told as: its norms are whole
};

NormSpec qwen_norm(SpecBuilder& builder, const std::string& name, const QwenShape& shape) {
  NormSpec made = builder.norm(name, builder.d_model(), shape.sizes.norm_eps);
  made.offset = shape.norm_offset;
  return made;
}

DeltaNetSpec qwen_delta(SpecBuilder& builder, const std::string& prefix, const QwenShape& shape) {
  const DeltaNetShape& s = shape.delta;
  const int64_t d_model = builder.d_model(), qkv = 2 * s.keys() + s.values();
  const auto in = [&](const char* name, int64_t rows) {
    return builder.projection(prefix + name, rows, d_model);
  };
  std::vector<ProjectionSpec> projections;
  // A GGUF's rows are in order.
  const bool interleaved = shape.interleaved && !builder.has(prefix + "in_proj_qkv.weight");
  if (interleaved) {
    projections = {in("in_proj_qkvz", qkv + s.values()), in("in_proj_ba", 2 * s.heads)};
  } else {
    projections = {in("in_proj_qkv", qkv), in("in_proj_z", s.values()), in("in_proj_b", s.heads),
                   in("in_proj_a", s.heads)};
    builder.cut(projections.front().matrix, std::array{2 * s.keys()});  // q, k | v
  }
  const SmallId conv = builder.small(prefix + "conv1d.weight", {qkv, 1, s.d_conv});
  DeltaNetSpec spec = delta_net(builder, prefix, s, "norm", shape.sizes.norm_eps);
  spec.in = std::move(projections);
  spec.interleaved = interleaved;
  spec.conv_weights = {conv};
  spec.out_proj = builder.projection(prefix + "out_proj", d_model, s.values());
  return spec;
}

MoeSpec qwen_moe(SpecBuilder& builder, const std::string& prefix, const QwenMoeShape& shape) {
  const int64_t d_model = builder.d_model();
  MoeSpec spec;
  spec.scores = MoeSpec::Scores::kSoftmax;
  spec.top_k = shape.top_k;
  spec.normalise = shape.normalise;
  spec.router = builder.small(prefix + "gate.weight", {shape.experts, d_model});
  spec.shared_gate = builder.small(prefix + "shared_expert_gate.weight", {1, d_model});
  const StackedExperts stack{.in = prefix + "experts.gate_up_proj",
                             .down = prefix + "experts.down_proj",
                             .count = shape.experts,
                             .width = d_model,
                             .d_inner = shape.d_inner,
                             .gated = true,
                             .activation = Activation::kSilu};
  const bool stacked = builder.has(stack.in);  // as Qwen3.5's are published
  for (int64_t e = 0; e < shape.experts; ++e) {
    const std::string expert = prefix + "experts." + std::to_string(e) + ".";
    spec.experts.push_back(stacked ? stacked_expert(builder, stack, e)
                                   : gated_mlp(builder, expert, shape.d_inner, Activation::kSilu));
  }
  spec.shared =
      gated_mlp(builder, prefix + "shared_expert.", shape.shared_width, Activation::kSilu);
  return spec;
}

QwenMoeShape qwen_moe_shape(const Config& config, int64_t experts, int64_t top_k) {
  QwenMoeShape shape;
  shape.experts = config.integer({"num_experts"}, 1, kMaxExperts, experts);
  shape.top_k = config.integer({"num_experts_per_tok"}, 1, shape.experts, top_k);
  shape.d_inner = config.integer({"moe_intermediate_size"}, 1, kMaxWidth, 512);
  shape.shared_width = config.integer({"shared_expert_intermediate_size"}, 1, kMaxWidth, 512);
  return shape;
}

QwenShape qwen_shape(const Config& config) {
  QwenShape shape;
  shape.sizes = model_sizes(config, 1e-6);
  shape.delta = delta_net_shape(
      config, {.heads = 32, .key_heads = 16, .k_dim = 128, .v_dim = 128, .d_conv = 4});
  shape.attention = attention_shape(config, shape.sizes.d_model);
  shape.attention.head_dim =
      config.integer({"head_dim"}, 1, kMaxWidth / shape.attention.heads, 256);
  shape.attention.qk_norm_eps = shape.sizes.norm_eps;
  shape.norm_offset = static_cast<float>(config.number({"rms_norm_offset"}, 0, 1, 1));
  shape.attention.qk_norm_offset = shape.norm_offset;
  shape.attention.gated = true;
  if (!config.boolean({"attn_output_gate"}, true))
    config.unsupported("attn_output_gate is false, but q_proj has gates in the reference");
  config.text({"mamba_ssm_dtype"}, "float32");  // states are in FP32 here
  shape.attends = attending_layers(config, shape.sizes.layers);
  shape.sparse.assign(shape.attends.size(), false);
  return shape;
}

ModelSpec qwen_spec(const Config& config, const HasTensor& has, QwenShape shape) {
  const int64_t d_model = shape.sizes.d_model;
  // Within a model that sees images too.
  const std::string outer =
      has("model.language_model.embed_tokens.weight") ? "model.language_model." : "model.";
  SpecBuilder builder(config, has, shape.sizes.vocab, d_model, outer + "embed_tokens",
                      tied_head(config, has, false));
  shape.attention.rope = builder.rope(rope(config, shape.attention.head_dim, 0.25));
  for (size_t i = 0; i < shape.attends.size(); ++i) {
    const std::string layer = outer + "layers." + std::to_string(i) + ".";
    BlockSpec mix{.norm = qwen_norm(builder, layer + "input_layernorm", shape),
                  .mixer = {},
                  .shared = std::nullopt};
    if (shape.attends[i])
      mix.mixer = attention(builder, layer + "self_attn.", shape.attention);
    else
      mix.mixer = qwen_delta(builder, layer + "linear_attn.", shape);
    builder.add(std::move(mix));
    BlockSpec second{.norm = qwen_norm(builder, layer + "post_attention_layernorm", shape),
                     .mixer = {},
                     .shared = std::nullopt};
    if (shape.sparse[i])
      second.mixer = qwen_moe(builder, layer + "mlp.", shape.moe);
    else
      second.mixer = gated_mlp(builder, layer + "mlp.", shape.d_inner, Activation::kSilu);
    builder.add(std::move(second));
  }
  ModelSpec spec = builder.finish(outer + "norm", shape.sizes.norm_eps);
  spec.final_norm.offset = shape.norm_offset;
  return spec;
}

}  // namespace

ModelSpec build_qwen3_5(const Config& config, const HasTensor& has) {
  QwenShape shape = qwen_shape(config);
  shape.d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  config.has({"mlp_only_layers"});  // all are
  return qwen_spec(config, has, std::move(shape));
}

ModelSpec build_qwen3_5_moe(const Config& config, const HasTensor& has) {
  QwenShape shape = qwen_shape(config);
  shape.moe = qwen_moe_shape(config, 256, 8);
  shape.sparse.assign(shape.sparse.size(), true);
  // The reference looks at neither.
  config.has({"norm_topk_prob"});
  config.has({"mlp_only_layers"});
  return qwen_spec(config, has, std::move(shape));
}

ModelSpec build_qwen3_next(const Config& config, const HasTensor& has) {
  QwenShape shape = qwen_shape(config);
  shape.interleaved = true;
  shape.d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth, 5632);
  shape.moe = qwen_moe_shape(config, 512, 10);
  shape.moe.normalise = config.boolean({"norm_topk_prob"}, true);
  const int64_t layers = shape.sizes.layers;
  const int64_t step = config.integer({"decoder_sparse_step"}, 1, kMaxBlocks, 1);
  const std::vector<int64_t> plain = config.integers("mlp_only_layers", 0, kMaxBlocks);
  for (int64_t i = 0; i < layers; ++i)
    shape.sparse[static_cast<size_t>(i)] =
        (i + 1) % step == 0 && std::find(plain.begin(), plain.end(), i) == plain.end();
  return qwen_spec(config, has, std::move(shape));
}

}  // namespace klens
