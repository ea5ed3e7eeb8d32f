// Zamba (arXiv 2405.16712): Mamba-1 with several heads; before some blocks goes a transformer that
// all these places share.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/zamba_parts.h"

namespace klens {
namespace {

struct ZambaShape {
  ModelSizes sizes;
  std::vector<bool> hybrid;  // by layer
  Mamba1Shape mamba;
  int64_t mamba_heads = 0;
  AttentionShape attention;
  int64_t d_inner = 0;
  Activation activation = Activation::kGelu;
};

// The layers of a config that lists none: the third, then those at `offset` of every period.
std::vector<bool> usual_layers(const Config& config, int64_t layers) {
  const int64_t period = config.integer({"attn_layer_period"}, 1, kMaxBlocks, 6);
  const int64_t offset = config.integer({"attn_layer_offset"}, 0, kMaxBlocks, 4);
  std::vector<bool> hybrid;
  for (int64_t i = 0; i < layers; ++i)
    hybrid.push_back(i == 2 || (i > 2 && (i - 3) % period == offset));
  return hybrid;
}

ZambaShape zamba_shape(const Config& config) {
  ZambaShape shape;
  shape.sizes = model_sizes(config, 1e-5);
  const std::vector<bool> usual = usual_layers(config, shape.sizes.layers);
  shape.hybrid = layers_of_kind(config, shape.sizes.layers, "hybrid");
  if (shape.hybrid.empty()) shape.hybrid = usual;
  require_silu(config, "hidden_mamba_act");
  shape.mamba = mamba_dt_shape(config, shape.sizes.d_model);
  shape.mamba_heads = config.integer({"n_mamba_heads"}, 1, kMaxHeads, 2);
  if (shape.mamba.d_inner % shape.mamba_heads != 0)
    config.fail("n_mamba_heads does not divide the width of Mamba blocks");
  shape.attention = shared_attention_shape(config, shape.sizes.d_model);
  shape.d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  shape.activation = activation(config, "hidden_act", "gelu");
  return shape;
}

// Each head has an x_proj and a dt_proj of its own, stacked.
Mamba1Spec zamba_mixer(SpecBuilder& builder, const std::string& prefix, const ZambaShape& shape) {
  const Mamba1Shape& s = shape.mamba;
  const int64_t heads = shape.mamba_heads, width = s.d_inner / heads;
  Mamba1Spec spec;
  spec.interleaved = true;
  spec.in_proj = builder.projection(prefix + "in_proj", 2 * s.d_inner, builder.d_model(), s.bias);
  spec.scan = scan_convolution(builder, prefix, s);
  for (int64_t head = 0; head < heads; ++head)
    spec.scan.x_proj.push_back(builder.stacked(prefix + "x_proj_weight", head, heads,
                                               s.dt_rank + 2 * s.d_state, width, "x_proj"));
  for (int64_t head = 0; head < heads; ++head)
    spec.scan.dt_proj.push_back(
        builder.stacked(prefix + "dt_proj_weight", head, heads, width, s.dt_rank, "dt_proj"));
  spec.scan.dt_bias = builder.small(prefix + "dt_proj_bias", {heads, width});
  spec.scan.a_log = builder.small(prefix + "A_log", {heads, width, s.d_state});
  spec.scan.d = builder.small(prefix + "D", {heads, width});
  spec.out_proj = builder.projection(prefix + "out_proj", builder.d_model(), s.d_inner, s.bias);
  return spec;
}

// The transformer that lies under `owner`, at the layer of prefix `layer`.
SharedTransformerSpec zamba_shared(SpecBuilder& builder, const std::string& owner,
                                   const std::string& layer, const ZambaShape& shape) {
  const std::string block = owner + "shared_transf.";
  const int64_t d_model = builder.d_model();
  SharedTransformerSpec spec;
  spec.input_norm = builder.norm(block + "input_layernorm", 2 * d_model, shape.sizes.norm_eps);
  spec.attention = attention(builder, block + "self_attn.", shape.attention);
  spec.mlp_norm = builder.norm(block + "pre_ff_layernorm", d_model, shape.sizes.norm_eps);
  spec.mlp = gated_mlp(builder, block + "feed_forward.", shape.d_inner, shape.activation);
  spec.linear = builder.projection(layer + "linear", d_model, d_model);
  return spec;
}

}  // namespace

ModelSpec build_zamba(const Config& config, const HasTensor& has) {
  const ZambaShape shape = zamba_shape(config);
  SpecBuilder builder(config, has, shape.sizes.vocab, shape.sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, true));
  std::string owner;  // where the shared transformer is stored: at its first place
  for (size_t i = 0; i < shape.hybrid.size(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string inner = shape.hybrid[i] ? layer + "mamba_decoder." : layer;
    std::optional<SharedTransformerSpec> transformer;
    if (shape.hybrid[i]) {
      if (owner.empty()) owner = layer;
      transformer = zamba_shared(builder, owner, layer, shape);
    }
    const NormSpec norm =
        builder.norm(inner + "input_layernorm", shape.sizes.d_model, shape.sizes.norm_eps);
    builder.add({.norm = norm,
                 .mixer = zamba_mixer(builder, inner + "mamba.", shape),
                 .shared = std::move(transformer)});
  }
  return builder.finish("model.final_layernorm", shape.sizes.norm_eps);
}

}  // namespace klens
