// Llama (arXiv 2302.13971) and its kin: attention and a gated MLP in turn.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// What the members of the family differ in.
struct LlamaShape {
  AttentionShape attention;
  std::vector<int64_t> reach;  // by layer
  bool mlp_bias = false;
  float norm_eps = 1e-6f;
  float embedding_scale = 1, residual_scale = 1, logit_scale = 1;
};

LlamaShape llama_shape(const Config& config, const ModelSizes& sizes) {
  LlamaShape shape;
  shape.attention = attention_shape(config, sizes.d_model);
  shape.reach.assign(static_cast<size_t>(sizes.layers), reach_of(std::nullopt));
  shape.norm_eps = sizes.norm_eps;
  return shape;
}

// sliding_window for the layers that layer_types names, or, in older configs, for those from
// max_window_layers on.
void windows_of_qwen(const Config& config, LlamaShape& shape) {
  const int64_t layers = static_cast<int64_t>(shape.reach.size());
  const int64_t window = config.integer({"sliding_window"}, 1, kMaxPosition, 4096);
  const int64_t first = config.integer({"max_window_layers"}, 0, kMaxBlocks, 28);
  const std::vector<std::string> kinds = layer_kinds(config, layers);
  if (!config.boolean({"use_sliding_window"}, false)) return;
  for (int64_t i = 0; i < layers; ++i) {
    const size_t at = static_cast<size_t>(i);
    if (kinds.empty() ? i >= first : kinds[at] == "sliding") shape.reach[at] = reach_of(window);
  }
}

ModelSpec llama_spec(const Config& config, const HasTensor& has,
                     void (*vary)(const Config& config, LlamaShape& shape)) {
  const ModelSizes sizes = model_sizes(config, 1e-6);
  const int64_t d_model = sizes.d_model;
  const int64_t d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  const Activation act = activation(config, "hidden_act", "silu");
  LlamaShape shape = llama_shape(config, sizes);
  vary(config, shape);
  if (const std::string type = config.text({"position_embedding_type"}, "rope");
      type != "rope" && type != "rotary")
    config.unsupported("position_embedding_type \"" + type + "\" is not rope");
  // Written by programs that make one config of another's, and read by none of these models.
  config.has({"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"});

  SpecBuilder builder(config, has, sizes.vocab, d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  builder.spec().embedding_scale = shape.embedding_scale;
  builder.spec().logit_scale = shape.logit_scale;
  shape.attention.rope = builder.rope(rope(config, shape.attention.head_dim));
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    shape.attention.reach = shape.reach[static_cast<size_t>(i)];
    builder.add({.norm = builder.norm(layer + "input_layernorm", d_model, shape.norm_eps),
                 .mixer = attention(builder, layer + "self_attn.", shape.attention),
                 .shared = std::nullopt,
                 .residual_scale = shape.residual_scale});
    builder.add({.norm = builder.norm(layer + "post_attention_layernorm", d_model, shape.norm_eps),
                 .mixer = gated_mlp(builder, layer + "mlp.", d_inner, act, shape.mlp_bias),
                 .shared = std::nullopt,
                 .residual_scale = shape.residual_scale});
  }
  return builder.finish("model.norm", shape.norm_eps);
}

}  // namespace

ModelSpec build_llama(const Config& config, const HasTensor& has) {
  return llama_spec(config, has, [](const Config& c, LlamaShape& shape) {
    shape.mlp_bias = c.boolean({"mlp_bias"}, false);
    // Llama sees all of the text, whatever a config says that was made from Mistral's or Qwen's.
    c.has({"sliding_window", "use_sliding_window", "max_window_layers"});
  });
}

// Granite 3 and 4.1: four multipliers, of which attention_multiplier is the scale of the scores.
ModelSpec build_granite(const Config& config, const HasTensor& has) {
  return llama_spec(config, has, [](const Config& c, LlamaShape& shape) {
    shape.mlp_bias = c.boolean({"mlp_bias"}, false);
    shape.attention.scale = multiplier(c, "attention_multiplier");
    shape.embedding_scale = multiplier(c, "embedding_multiplier");
    shape.residual_scale = multiplier(c, "residual_multiplier");
    shape.logit_scale = static_cast<float>(1 / c.number({"logits_scaling"}, 1e-6, 1e6, 1));
  });
}

ModelSpec build_mistral(const Config& config, const HasTensor& has) {
  return llama_spec(config, has, [](const Config& c, LlamaShape& shape) {
    // null: none; no such key: the reference's default.
    if (c.names("sliding_window") && !c.has({"sliding_window"})) return;
    const int64_t reach = reach_of(c.integer({"sliding_window"}, 1, kMaxPosition, 4096));
    shape.reach.assign(shape.reach.size(), reach);
  });
}

ModelSpec build_qwen2(const Config& config, const HasTensor& has) {
  return llama_spec(config, has, [](const Config& c, LlamaShape& shape) {
    shape.attention.qkv_bias = true;
    shape.attention.o_bias = false;
    windows_of_qwen(c, shape);
  });
}

ModelSpec build_qwen3(const Config& config, const HasTensor& has) {
  return llama_spec(config, has, [](const Config& c, LlamaShape& shape) {
    shape.attention.head_dim = c.integer({"head_dim"}, 1, kMaxWidth / shape.attention.heads, 128);
    shape.attention.qk_norm_eps = shape.norm_eps;
    windows_of_qwen(c, shape);
  });
}

}  // namespace klens
