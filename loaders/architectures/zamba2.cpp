// Zamba2 (arXiv 2411.15242): Mamba-2 blocks; before some of them goes one of a few transformers
// that places share, each place with low-rank adapters of its own.
#include <algorithm>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/zamba_parts.h"

namespace klens {
namespace {

struct Zamba2Shape {
  ModelSizes sizes;
  std::vector<bool> hybrid;  // by layer
  Mamba2Shape mamba;
  AttentionShape attention;
  int64_t d_inner = 0, adapter_rank = 0;
  bool attention_adapters = false, bias = false;
  Activation activation = Activation::kGelu;
};

Mamba2Shape zamba2_mamba_shape(const Config& config, int64_t d_model) {
  Mamba2Shape shape;
  shape.d_inner = config.integer({"mamba_expand", "expansion_factor"}, 1, 64, 2) * d_model;
  // Older configs have the size of heads, newer ones their number, or both.
  const bool sized = config.has({"mamba_headdim"}) && !config.has({"n_mamba_heads"});
  const int64_t head_dim = sized ? config.integer({"mamba_headdim"}, 1, 64 * kMaxWidth) : 1;
  shape.heads = config.integer({"n_mamba_heads"}, 1, kMaxHeads,
                               sized ? std::max<int64_t>(shape.d_inner / head_dim, 1) : 8);
  shape.head_dim = config.integer({"mamba_headdim"}, 1, 64 * kMaxWidth,
                                  std::max<int64_t>(shape.d_inner / shape.heads, 1));
  shape.groups = config.integer({"mamba_ngroups"}, 1, kMaxHeads, 1);
  shape.d_state = config.integer({"mamba_d_state", "state_size"}, 1, kMaxState, 64);
  shape.d_conv = config.integer({"mamba_d_conv", "conv_dimension"}, 1, kMaxConv, 4);
  shape.in_bias = shape.out_bias = config.boolean({"add_bias_linear"}, false);
  shape.norm_eps = 1e-5f;  // whatever rms_norm_eps is
  // Zyphra's cuda_kernels_forward (modeling_zamba2.py in transformers up to 4.x) gives mamba_ssm's
  // kernels dt_limit=time_step_limit, and no limit where that is null, as published; its slow path,
  // and transformers 5 everywhere, clamp to time_step_min, which is how dt_bias was initialised.
  read_time_step_limit(config, shape);
  return shape;
}

// Refuses what no published model asks for.
void check_switches(const Config& config) {
  if (!config.boolean({"use_conv_bias"}, true))
    config.unsupported("use_conv_bias false is not what Zamba2 does");
  if (!config.boolean({"use_shared_mlp_adapter", "use_shared_block_lora"}, true))
    config.unsupported("use_shared_mlp_adapter false is not what Zamba2 does");
  if (!config.boolean({"gated_linear_unit"}, true))
    config.unsupported("gated_linear_unit false is not what Zamba2 does");
  if (config.boolean({"use_long_context"}, false))
    config.unsupported("use_long_context asks for a rotation that klens lacks");
}

Zamba2Shape zamba2_shape(const Config& config) {
  check_switches(config);
  Zamba2Shape shape;
  shape.sizes = model_sizes(config, 1e-5);
  const int64_t d_model = shape.sizes.d_model;
  shape.hybrid = layers_of_kind(config, shape.sizes.layers, "hybrid");
  if (shape.hybrid.empty()) config.fail("lacks layers_block_type");
  shape.mamba = zamba2_mamba_shape(config, d_model);
  shape.attention = shared_attention_shape(config, d_model);
  shape.d_inner = config.integer({"intermediate_size", "ffn_hidden_size"}, 1, kMaxWidth,
                                 std::min(4 * d_model, kMaxWidth));
  shape.adapter_rank = config.integer({"adapter_rank", "lora_rank"}, 1, kMaxWidth, 128);
  shape.attention_adapters =
      config.boolean({"use_shared_attention_adapter", "use_shared_attention_lora"}, false);
  shape.bias = config.boolean({"add_bias_linear"}, false);
  shape.activation = activation(config, "hidden_act", "gelu");
  return shape;
}

// The attention of one place: an adapter for each of q, k and v, where the model has any.
AttentionSpec zamba2_attention(SpecBuilder& builder, const std::string& prefix,
                               const Zamba2Shape& shape, const std::string& place) {
  const AttentionShape& a = shape.attention;
  AttentionSpec spec;
  for (const char* name : {"q", "k", "v"}) {
    const int64_t rows = (*name == 'q' ? a.heads : a.kv_heads) * a.head_dim;
    spec.qkv.push_back(builder.projection(prefix + name + "_proj", rows, a.d_in));
    if (shape.attention_adapters)
      spec.qkv.back().adapter = builder.adapter(
          prefix + "linear_" + name + "_adapter_list." + place, rows, a.d_in, shape.adapter_rank);
  }
  spec.core = attention_core(builder, a);
  spec.o_proj = builder.projection(prefix + "o_proj", builder.d_model(), a.heads * a.head_dim);
  return spec;
}

MlpSpec mlp(SpecBuilder& builder, const std::string& prefix, const Zamba2Shape& shape,
            const std::string& place) {
  const int64_t rows = 2 * shape.d_inner, d_model = builder.d_model();
  ProjectionSpec in = builder.projection(prefix + "gate_up_proj", rows, d_model, shape.bias);
  in.adapter = builder.adapter(prefix + "gate_up_proj_adapter_list." + place, rows, d_model,
                               shape.adapter_rank);
  return {.in = {in},
          .down = builder.projection(prefix + "down_proj", d_model, shape.d_inner, shape.bias),
          .d_inner = shape.d_inner,
          .gated = true,
          .activation = shape.activation};
}

// The transformer that lies under `owner`, at hybrid layer `place`, whose own prefix is `layer`.
SharedTransformerSpec zamba2_shared(SpecBuilder& builder, const std::string& owner,
                                    const std::string& layer, const Zamba2Shape& shape,
                                    size_t place) {
  const std::string block = owner + "shared_transformer.", number = std::to_string(place);
  const float eps = shape.sizes.norm_eps;
  const int64_t d_model = builder.d_model();
  SharedTransformerSpec spec;
  spec.input_norm = builder.norm(block + "input_layernorm", 2 * d_model, eps);
  spec.attention = zamba2_attention(builder, block + "self_attn.", shape, number);
  spec.mlp_norm = builder.norm(block + "pre_ff_layernorm", d_model, eps);
  spec.mlp = mlp(builder, block + "feed_forward.", shape, number);
  spec.linear = builder.projection(layer + "linear", d_model, d_model);
  return spec;
}

}  // namespace

ModelSpec build_zamba2(const Config& config, const HasTensor& has) {
  Zamba2Shape shape = zamba2_shape(config);
  const auto shared_blocks =
      static_cast<size_t>(config.integer({"num_mem_blocks"}, 1, kMaxBlocks, 1));
  SpecBuilder builder(config, has, shape.sizes.vocab, shape.sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, true));
  if (config.boolean({"use_mem_rope"}, false))
    shape.attention.rope = builder.rope(rope(config, shape.attention.head_dim));
  else
    config.has({"rope_parameters", "rope_scaling"});  // of a rotation that is switched off
  std::vector<std::string> places;                    // of the hybrid layers so far
  for (size_t i = 0; i < shape.hybrid.size(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const std::string inner = shape.hybrid[i] ? layer + "mamba_decoder." : layer;
    std::optional<SharedTransformerSpec> transformer;
    if (shape.hybrid[i]) {
      places.push_back(layer);
      // Blocks take turns; each is stored where it is first used.
      const size_t place = places.size() - 1;
      transformer = zamba2_shared(builder, places[place % shared_blocks], layer, shape, place);
    }
    const NormSpec norm =
        builder.norm(inner + "input_layernorm", shape.sizes.d_model, shape.sizes.norm_eps);
    builder.add({.norm = norm,
                 .mixer = mamba2(builder, inner + "mamba.", shape.mamba),
                 .shared = std::move(transformer)});
  }
  return builder.finish("model.final_layernorm", shape.sizes.norm_eps);
}

}  // namespace klens
