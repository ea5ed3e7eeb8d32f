// Mamba-2 (arXiv 2405.21060): as transformers publishes it, and the original state-spaces layout.
#include <algorithm>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// How a checkpoint names what it holds.
struct Names {
  std::string backbone, embedding, head;
};

ModelSpec mamba2_spec(const ModelSizes& sizes, const Mamba2Shape& shape, bool tied,
                      const Names& names, const Config& config, const HasTensor& has) {
  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, names.backbone + names.embedding,
                      tied);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string layer = names.backbone + "layers." + std::to_string(i) + ".";
    builder.add({.norm = builder.norm(layer + "norm", sizes.d_model, sizes.norm_eps),
                 .mixer = mamba2(builder, layer + "mixer.", shape),
                 .shared = std::nullopt});
  }
  return builder.finish(names.backbone + "norm_f", sizes.norm_eps, names.head);
}

}  // namespace

ModelSpec build_mamba2(const Config& config, const HasTensor& has) {
  require_silu(config, "hidden_act");
  if (!config.boolean({"rms_norm"}, true))
    config.unsupported("rms_norm false asks for Mamba-2 without its gated norm");
  // Written by some configs and heeded by none: the gate always comes first.
  config.boolean({"norm_before_gate"}, false);
  const ModelSizes sizes = {
      .d_model = config.integer({"hidden_size", "d_model"}, 1, kMaxWidth),
      .layers = config.integer({"num_hidden_layers", "n_layer"}, 1, kMaxBlocks),
      .vocab = config.integer({"vocab_size"}, 1, kMaxVocab),
      .norm_eps = static_cast<float>(config.number({"layer_norm_epsilon"}, 0, 1, 1e-5))};
  Mamba2Shape shape;
  shape.d_inner = config.integer({"expand"}, 1, 64, 2) * sizes.d_model;
  shape.head_dim = config.integer({"head_dim"}, 1, kMaxWidth, 64);
  shape.heads = config.integer({"num_heads"}, 1, kMaxHeads, 128);
  shape.groups = config.integer({"n_groups"}, 1, kMaxHeads, 8);
  shape.d_state = config.integer({"state_size"}, 1, kMaxState, 128);
  shape.d_conv = config.integer({"conv_kernel"}, 1, kMaxConv, 4);
  shape.in_bias = shape.out_bias = config.boolean({"use_bias"}, false);
  shape.conv_bias = config.boolean({"use_conv_bias"}, true);
  shape.norm_eps = sizes.norm_eps;
  read_time_step_limit(config, shape);

  // Codestral Mamba has its tensors under "model.".
  const std::string outer = has("model.backbone.norm_f.weight") ? "model." : "";
  const std::string head = has("model.lm_head.weight") ? "model.lm_head.weight" : "lm_head.weight";
  const HasTensor has_head = [&](const std::string&) { return has(head); };
  return mamba2_spec(sizes, shape, tied_head(config, has_head, false),
                     {outer + "backbone.", "embeddings", head}, config, has);
}

ModelSpec build_original_mamba2(const Config& config, const HasTensor& has) {
  const ModelSizes sizes = original_sizes(config);
  const Config ssm = config.child("ssm_cfg");
  ssm.text({"layer"}, "Mamba2");
  if (!ssm.boolean({"rmsnorm"}, true))
    config.unsupported("ssm_cfg.rmsnorm false asks for Mamba-2 without its gated norm");
  Mamba2Shape shape;
  shape.d_inner = ssm.integer({"expand"}, 1, 64, 2) * sizes.d_model;
  shape.head_dim = ssm.integer({"headdim"}, 1, kMaxWidth, 64);
  shape.heads = std::max<int64_t>(shape.d_inner / shape.head_dim, 1);
  shape.groups = ssm.integer({"ngroups"}, 1, kMaxHeads, 1);
  shape.d_state = ssm.integer({"d_state"}, 1, kMaxState, 128);
  shape.d_conv = ssm.integer({"d_conv"}, 1, kMaxConv, 4);
  shape.in_bias = shape.out_bias = ssm.boolean({"bias"}, false);
  shape.conv_bias = ssm.boolean({"conv_bias"}, true);
  shape.norm_eps = 1e-5f;
  shape.norm_before_gate = ssm.boolean({"norm_before_gate"}, false);
  read_time_step_limit(ssm, shape, "dt_limit");
  refuse_unknown_layer_settings(ssm, "Mamba2");
  return mamba2_spec(sizes, shape, tied_head(config, has, true, "tie_embeddings"),
                     {"backbone.", "embedding", "lm_head.weight"}, config, has);
}

}  // namespace klens
