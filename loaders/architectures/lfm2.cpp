// LFM2 (arXiv 2511.23404): a gated short convolution or attention, then a gated MLP or experts.
#include <array>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

constexpr GatedNames kNames{.gate = "w1", .up = "w3", .down = "w2"};

// By layer, whether it attends: layer_types, or, in older configs, full_attn_idxs.
std::vector<bool> attending(const Config& config, int64_t layers) {
  std::vector<bool> attends(static_cast<size_t>(layers), false);
  const std::vector<std::string> kinds = config.texts("layer_types");
  const std::vector<int64_t> listed = config.integers("full_attn_idxs", 0, layers - 1);
  if (kinds.empty()) {
    if (listed.empty()) config.fail("lacks layer_types and full_attn_idxs");
    for (const int64_t i : listed) attends[static_cast<size_t>(i)] = true;
    return attends;
  }
  if (kinds.size() != attends.size())
    config.fail("layer_types lists " + std::to_string(kinds.size()) + " layers of " +
                std::to_string(layers));
  for (size_t i = 0; i < kinds.size(); ++i) {
    attends[i] = kinds[i] == "full_attention";
    if (!attends[i] && kinds[i] != "conv")
      config.unsupported("layer_types names a layer \"" + kinds[i] +
                         "\", which is neither conv nor full_attention");
  }
  return attends;
}

// intermediate_size (older: block_ff_dim), or what block_auto_adjust_ff_dim makes of it: two
// thirds, times a multiplier, up to a multiple.
int64_t dense_width(const Config& config) {
  const int64_t width = config.integer({"block_ff_dim", "intermediate_size"}, 1, kMaxWidth);
  const double by = config.number({"block_ffn_dim_multiplier"}, 1e-3, 1e3, 1);
  const int64_t multiple = config.integer({"block_multiple_of"}, 1, kMaxWidth, 256);
  if (!config.boolean({"block_auto_adjust_ff_dim"}, true)) return width;
  const auto adjusted = static_cast<int64_t>(by * static_cast<double>(2 * width / 3));
  const int64_t rounded = (adjusted + multiple - 1) / multiple * multiple;
  if (rounded < 1 || rounded > kMaxWidth)
    config.fail("block_ffn_dim_multiplier makes the MLP " + std::to_string(rounded) + " wide");
  return rounded;
}

struct Lfm2MoeShape {
  int64_t dense_layers = 0, experts = 0, top_k = 0, d_inner = 0;
  bool biased = true, normalise = true;
  float routed_scale = 1;
};

Lfm2MoeShape lfm2_moe_shape(const Config& config) {
  Lfm2MoeShape shape;
  shape.dense_layers = config.integer({"num_dense_layers"}, 0, kMaxBlocks, 2);
  shape.experts = config.integer({"num_experts"}, 1, kMaxExperts, 32);
  shape.top_k = config.integer({"num_experts_per_tok"}, 1, shape.experts, 4);
  shape.d_inner = config.integer({"moe_intermediate_size"}, 1, kMaxWidth, 1792);
  shape.biased = config.boolean({"use_expert_bias"}, true);
  shape.normalise = config.boolean({"norm_topk_prob"}, true);
  shape.routed_scale = multiplier(config, "routed_scaling_factor");
  return shape;
}

MoeSpec lfm2_moe(SpecBuilder& builder, const std::string& prefix, const Lfm2MoeShape& shape) {
  MoeSpec spec;
  spec.scores = MoeSpec::Scores::kSigmoid;
  spec.top_k = shape.top_k;
  spec.router = builder.small(prefix + "gate.weight", {shape.experts, builder.d_model()});
  if (shape.biased) spec.correction = builder.small(prefix + "expert_bias", {shape.experts});
  spec.normalise = shape.normalise;
  spec.normalise_eps = 1e-6f;
  spec.routed_scale = shape.routed_scale;
  for (int64_t e = 0; e < shape.experts; ++e)
    spec.experts.push_back(gated_mlp(builder, prefix + "experts." + std::to_string(e) + ".",
                                     shape.d_inner, Activation::kSilu, false, kNames));
  return spec;
}

ShortConvSpec short_conv(SpecBuilder& builder, const std::string& prefix) {
  const Config& config = builder.config();
  const int64_t d_model = builder.d_model();
  const int64_t width = config.integer({"conv_L_cache"}, 1, kMaxConv, 3);
  const bool bias = config.boolean({"conv_bias"}, false);
  ShortConvSpec spec;
  spec.in_proj = builder.projection(prefix + "in_proj", 3 * d_model, d_model, bias);
  builder.cut(spec.in_proj.matrix, std::array{d_model, d_model});  // B | C | x
  spec.conv_weight = builder.small(prefix + "conv.weight", {d_model, 1, width});
  if (bias) spec.conv_bias = builder.small(prefix + "conv.bias", {d_model});
  spec.out_proj = builder.projection(prefix + "out_proj", d_model, d_model, bias);
  return spec;
}

// Keys of the first published configs that say again what others say, or how weights were made.
void skip_older_keys(const Config& config) {
  for (const char* key : {"block_norm_eps", "block_mlp_init_scale", "block_out_init_scale"})
    config.has({key});
  if (!config.boolean({"use_pos_enc"}, true)) config.unsupported("use_pos_enc is false");
  if (!config.boolean({"block_use_swiglu"}, true)) config.unsupported("block_use_swiglu is false");
}

ModelSpec lfm2_spec(const Config& config, const HasTensor& has,
                    const std::optional<Lfm2MoeShape>& experts) {
  const int64_t d_model = config.integer({"hidden_size"}, 1, kMaxWidth);
  const int64_t layers = config.integer({"num_hidden_layers"}, 1, kMaxBlocks);
  const auto eps = static_cast<float>(config.number({"norm_eps"}, 0, 1, 1e-5));
  const std::vector<bool> attends = attending(config, layers);
  const int64_t d_inner =
      experts ? config.integer({"intermediate_size"}, 1, kMaxWidth) : dense_width(config);
  skip_older_keys(config);
  AttentionShape shape = attention_shape(config, d_model);
  shape.qk_norm_eps = eps;
  shape.o_proj = "out_proj";
  shape.q_norm = "q_layernorm";
  shape.k_norm = "k_layernorm";

  const char* tie = config.has({"tie_embedding"}) ? "tie_embedding" : "tie_word_embeddings";
  SpecBuilder builder(config, has, config.integer({"vocab_size"}, 1, kMaxVocab), d_model,
                      "model.embed_tokens", tied_head(config, has, true, tie));
  shape.rope = builder.rope(rope(config, shape.head_dim, 1, 1e6));
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    BlockSpec mix{.norm = builder.norm(layer + "operator_norm", d_model, eps),
                  .mixer = {},
                  .shared = std::nullopt};
    if (attends[static_cast<size_t>(i)])
      mix.mixer = attention(builder, layer + "self_attn.", shape);
    else
      mix.mixer = short_conv(builder, layer + "conv.");
    builder.add(std::move(mix));
    const std::string prefix = layer + "feed_forward.";
    BlockSpec second{.norm = builder.norm(layer + "ffn_norm", d_model, eps),
                     .mixer = {},
                     .shared = std::nullopt};
    if (experts && i >= experts->dense_layers)
      second.mixer = lfm2_moe(builder, prefix, *experts);
    else
      second.mixer = gated_mlp(builder, prefix, d_inner, Activation::kSilu, false, kNames);
    builder.add(std::move(second));
  }
  return builder.finish("model.embedding_norm", eps);
}

}  // namespace

ModelSpec build_lfm2(const Config& config, const HasTensor& has) {
  return lfm2_spec(config, has, std::nullopt);
}

ModelSpec build_lfm2_moe(const Config& config, const HasTensor& has) {
  return lfm2_spec(config, has, lfm2_moe_shape(config));
}

}  // namespace klens
