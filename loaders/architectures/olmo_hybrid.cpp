// OLMo Hybrid: layers of Gated DeltaNet norm before their steps, layers of attention after them.
#include <algorithm>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// As its reference makes up what a config leaves out.
DeltaNetShape shape_of(const Config& config, int64_t d_model, int64_t attention_heads) {
  DeltaNetShape defaults{.heads = attention_heads, .key_heads = attention_heads, .d_conv = 4};
  const int64_t key_heads =
      config.integer({"linear_num_key_heads"}, 1, kMaxHeads, defaults.key_heads);
  defaults.k_dim = std::max<int64_t>(3 * d_model / (4 * key_heads), 1);
  defaults.v_dim = 2 * config.integer({"linear_key_head_dim"}, 1, kMaxHeadDim / 2, defaults.k_dim);
  return delta_net_shape(config, defaults);
}

DeltaNetSpec olmo_delta(SpecBuilder& builder, const std::string& prefix, const DeltaNetShape& s) {
  const int64_t d_model = builder.d_model(), keys = s.keys(), values = s.values();
  // FLA's gated norm has an epsilon of its own.
  DeltaNetSpec spec = delta_net(builder, prefix, s, "o_norm", 1e-5f);
  spec.in = {builder.projection(prefix + "q_proj", keys, d_model),
             builder.projection(prefix + "k_proj", keys, d_model),
             builder.projection(prefix + "v_proj", values, d_model),
             builder.projection(prefix + "g_proj", values, d_model),
             builder.projection(prefix + "b_proj", s.heads, d_model),
             builder.projection(prefix + "a_proj", s.heads, d_model)};
  const auto conv = [&](const char* name, int64_t channels) {
    return builder.small(prefix + name + ".weight", {channels, 1, s.d_conv});
  };
  // Published apart; merged by newer programs.
  if (builder.has(prefix + "conv1d.weight"))
    spec.conv_weights = {conv("conv1d", 2 * keys + values)};
  else
    spec.conv_weights = {conv("q_conv1d", keys), conv("k_conv1d", keys), conv("v_conv1d", values)};
  if (builder.config().boolean({"linear_allow_neg_eigval"}, true)) spec.beta_scale = 2;
  spec.out_proj = builder.projection(prefix + "o_proj", d_model, values);
  return spec;
}

// A norm by the first of its two names that the checkpoint has.
NormSpec olmo_norm(SpecBuilder& builder, const std::string& layer, const char* published,
                   const char* newer, float eps) {
  const bool has = builder.has(layer + published + ".weight");
  return builder.norm(layer + (has ? published : newer), builder.d_model(), eps);
}

}  // namespace

ModelSpec build_olmo_hybrid(const Config& config, const HasTensor& has) {
  const ModelSizes sizes = model_sizes(config, 1e-6);
  const int64_t d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  AttentionShape shape = attention_shape(config, sizes.d_model);
  shape.qk_norm_eps = sizes.norm_eps;
  shape.norm_over_heads = true;
  const DeltaNetShape delta_shape = shape_of(config, sizes.d_model, shape.heads);
  const std::vector<bool> attends = attending_layers(config, sizes.layers);
  // How weights were made.
  for (const char* key : {"linear_dt_min", "linear_dt_max", "linear_dt_init_floor"})
    config.has({key});

  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  // The published model has no rotation: rope_parameters is null, or its rope_theta.
  const Config rotation = config.child("rope_parameters");
  if (rotation.has({"rope_theta"})) {
    shape.rope = builder.rope(rope(config, shape.head_dim));
  } else {
    config.has({"rope_parameters"});
  }
  for (size_t i = 0; i < attends.size(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    BlockSpec mix, second;
    mix.norm_after = second.norm_after = attends[i];
    if (attends[i]) {
      mix.mixer = attention(builder, layer + "self_attn.", shape);
      mix.norm = olmo_norm(builder, layer, "feedforward_layer_norm", "post_attention_layernorm",
                           sizes.norm_eps);
      second.norm =
          builder.norm(layer + "post_feedforward_layernorm", sizes.d_model, sizes.norm_eps);
    } else {
      mix.norm =
          olmo_norm(builder, layer, "attention_layer_norm", "input_layernorm", sizes.norm_eps);
      mix.mixer = olmo_delta(builder, layer + "linear_attn.", delta_shape);
      second.norm = olmo_norm(builder, layer, "feedforward_layer_norm", "post_attention_layernorm",
                              sizes.norm_eps);
    }
    builder.add(std::move(mix));
    second.mixer = gated_mlp(builder, layer + "mlp.", d_inner, Activation::kSilu);
    builder.add(std::move(second));
  }
  return builder.finish("model.norm", sizes.norm_eps);
}

}  // namespace klens
