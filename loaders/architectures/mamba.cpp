// Mamba-1 (arXiv 2312.00752), as transformers publishes it and in the original state-spaces layout;
// FalconMamba (arXiv 2410.05355), which adds weightless norms of dt, B and C.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// The numbers of a Mamba-1 model, wherever its config keeps them.
struct MambaShape {
  int64_t d_model, blocks, vocab;
  Mamba1Shape mixer;
  bool tied;
  float norm_eps;
  std::optional<float> bcdt_norm_eps;  // FalconMamba: weightless norms of dt, B and C
};

ModelSpec mamba_spec(const MambaShape& shape, const std::string& embedding, const Config& config,
                     const HasTensor& has) {
  SpecBuilder builder(config, has, shape.vocab, shape.d_model, embedding, shape.tied);
  for (int64_t i = 0; i < shape.blocks; ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".";
    Mamba1Spec mixer = mamba1(builder, layer + "mixer.", shape.mixer);
    if (shape.bcdt_norm_eps)
      mixer.scan.dt_norm = mixer.scan.b_norm = mixer.scan.c_norm =
          NormSpec{.weight = std::nullopt, .eps = *shape.bcdt_norm_eps};
    builder.add({.norm = builder.norm(layer + "norm", shape.d_model, shape.norm_eps),
                 .mixer = std::move(mixer),
                 .shared = std::nullopt});
  }
  return builder.finish("backbone.norm_f", shape.norm_eps);
}

MambaShape published_shape(const Config& config, const HasTensor& has) {
  require_silu(config, "hidden_act");
  MambaShape shape{};
  shape.d_model = config.integer({"hidden_size", "d_model"}, 1, kMaxWidth);
  shape.blocks = config.integer({"num_hidden_layers", "n_layer"}, 1, kMaxBlocks);
  shape.vocab = config.integer({"vocab_size"}, 1, kMaxVocab);
  shape.mixer.d_inner = config.has({"intermediate_size"})
                            ? config.integer({"intermediate_size"}, 1, kMaxWidth)
                            : config.integer({"expand"}, 1, 64, 2) * shape.d_model;
  shape.mixer.d_state = config.integer({"state_size"}, 1, kMaxState, 16);
  shape.mixer.d_conv = config.integer({"conv_kernel"}, 1, kMaxConv, 4);
  shape.mixer.dt_rank = dt_rank(config, "time_step_rank", shape.d_model);
  shape.mixer.bias = config.boolean({"use_bias"}, false);
  shape.mixer.conv_bias = config.boolean({"use_conv_bias"}, true);
  shape.norm_eps = static_cast<float>(config.number({"layer_norm_epsilon"}, 0, 1, 1e-5));
  shape.tied = tied_head(config, has, true);
  return shape;
}

}  // namespace

ModelSpec build_mamba(const Config& config, const HasTensor& has) {
  return mamba_spec(published_shape(config, has), "backbone.embeddings", config, has);
}

ModelSpec build_falcon_mamba(const Config& config, const HasTensor& has) {
  MambaShape shape = published_shape(config, has);
  shape.bcdt_norm_eps = static_cast<float>(config.number({"mixer_rms_eps"}, 0, 1, 1e-6));
  return mamba_spec(shape, "backbone.embeddings", config, has);
}

ModelSpec build_original_mamba(const Config& config, const HasTensor& has) {
  const Config ssm = config.child("ssm_cfg");
  const std::string layer = ssm.text({"layer"}, "Mamba1");
  if (layer == "Mamba2") return build_original_mamba2(config, has);
  if (layer != "Mamba1")
    config.unsupported("ssm_cfg.layer \"" + layer +
                       "\" is not one that klens runs (Mamba1, Mamba2)");
  const ModelSizes sizes = original_sizes(config);
  MambaShape shape{};
  shape.d_model = sizes.d_model;
  shape.blocks = sizes.layers;
  shape.vocab = sizes.vocab;
  shape.mixer.d_inner = ssm.integer({"expand"}, 1, 64, 2) * shape.d_model;
  shape.mixer.d_state = ssm.integer({"d_state"}, 1, kMaxState, 16);
  shape.mixer.d_conv = ssm.integer({"d_conv"}, 1, kMaxConv, 4);
  shape.mixer.dt_rank = dt_rank(ssm, "dt_rank", shape.d_model);
  shape.mixer.bias = ssm.boolean({"bias"}, false);
  shape.mixer.conv_bias = ssm.boolean({"conv_bias"}, true);
  refuse_unknown_layer_settings(ssm, "Mamba1");
  shape.norm_eps = sizes.norm_eps;
  shape.tied = tied_head(config, has, true, "tie_embeddings");
  return mamba_spec(shape, "backbone.embedding", config, has);
}

}  // namespace klens
