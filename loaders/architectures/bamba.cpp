// Bamba: Mamba-2 or, at some layers, attention that rotates half of each head; an MLP after each.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// By attn_layer_indices, or by a list of kinds.
std::vector<bool> attention_layers(const Config& config, int64_t layers) {
  const std::vector<bool> listed = layers_of_kind(config, layers, "attention");
  if (!config.has({"attn_layer_indices"}) && !listed.empty()) return listed;
  std::vector<bool> attends(static_cast<size_t>(layers), false);
  for (int64_t at : config.integers("attn_layer_indices", 0, layers - 1))
    attends[static_cast<size_t>(at)] = true;
  if (!listed.empty() && listed != attends)
    config.fail("attn_layer_indices disagrees with the kinds of layers");
  return attends;
}

}  // namespace

ModelSpec build_bamba(const Config& config, const HasTensor& has) {
  const ModelSizes sizes = model_sizes(config, 1e-5);
  const int64_t d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  require_silu(config, "hidden_act");
  const std::vector<bool> attends = attention_layers(config, sizes.layers);
  Mamba2Shape mamba = mamba_d_shape(config, sizes.d_model);
  mamba.norm_eps = sizes.norm_eps;
  AttentionShape attention_sizes = attention_shape(config, sizes.d_model);
  const RopeSpec rotation = rope(config, attention_sizes.head_dim, 0.5);
  const int64_t rotated = 2 * static_cast<int64_t>(rotation.inv_freq.size());
  if (config.integer({"attn_rotary_emb"}, 0, kMaxWidth, rotated) != rotated)
    config.unsupported("attn_rotary_emb is not the half of each head that Bamba rotates");
  const bool mlp_bias = config.boolean({"mlp_bias"}, false);

  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  attention_sizes.rope = builder.rope(rotation);
  for (size_t i = 0; i < attends.size(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    BlockSpec mix{.norm = builder.norm(layer + "input_layernorm", sizes.d_model, sizes.norm_eps),
                  .mixer = {},
                  .shared = std::nullopt};
    if (attends[i])
      mix.mixer = attention(builder, layer + "self_attn.", attention_sizes);
    else
      mix.mixer = mamba2(builder, layer + "mamba.", mamba);
    builder.add(std::move(mix));
    builder.add(
        {.norm = builder.norm(layer + "pre_ff_layernorm", sizes.d_model, sizes.norm_eps),
         .mixer = gated_mlp(builder, layer + "feed_forward.", d_inner, Activation::kSilu, mlp_bias),
         .shared = std::nullopt});
  }
  return builder.finish("model.final_layernorm", sizes.norm_eps);
}

}  // namespace klens
