#include "loaders/architectures/mamba.h"

namespace klens {
namespace {

// Bounds that no sound model exceeds; they keep every size computed from a config far from
// overflow.
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxBlocks = 4096;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxConv = 16;
constexpr int64_t kMaxState = 256;

// The numbers of a Mamba-1 model, wherever its config keeps them.
struct Mamba1Shape {
  int64_t d_model, blocks, vocab, d_inner, d_state, d_conv, dt_rank;
  bool use_bias, use_conv_bias, tied;
  float norm_eps;
  std::optional<float> bcdt_norm_eps;
};

// time_step_rank / dt_rank: a number or "auto".
int64_t dt_rank(const Config& config, const char* key, int64_t d_model) {
  if (!config.has({key}) || config.is_text(key)) {
    const std::string word = config.text({key}, "auto");
    if (word != "auto")
      config.fail(std::string(key) + " is \"" + word + "\", neither a number nor \"auto\"");
    return (d_model + 15) / 16;
  }
  return config.integer({key}, 1, kMaxWidth);
}

// Whether the embedding's matrix is the head's too. A head that is announced and missing is not
// guessed.
bool tied_head(const Config& config, const char* key, const HasTensor& has) {
  if (config.boolean({key}, true)) return true;
  if (!has("lm_head.weight"))
    config.fail(std::string(key) + " is false, but there is no tensor lm_head.weight");
  return false;
}

LinearSpec linear(const std::string& prefix, const char* kind, int64_t rows, int64_t cols,
                  int64_t block) {
  const std::string name = prefix + kind;
  return {.name = name,
          .tensor = name + ".weight",
          .kind = kind,
          .rows = rows,
          .cols = cols,
          .block = block};
}

BlockSpec mamba1_block(const Mamba1Shape& shape, int64_t index) {
  const std::string layer = "backbone.layers." + std::to_string(index) + ".";
  const std::string mixer = layer + "mixer.";
  const int64_t inner = shape.d_inner;
  Mamba1Spec spec{
      .d_inner = inner,
      .d_state = shape.d_state,
      .d_conv = shape.d_conv,
      .dt_rank = shape.dt_rank,
      .bcdt_norm_eps = shape.bcdt_norm_eps,
      .in_proj = linear(mixer, "in_proj", 2 * inner, shape.d_model, index),
      .x_proj = linear(mixer, "x_proj", shape.dt_rank + 2 * shape.d_state, inner, index),
      .dt_proj = linear(mixer, "dt_proj", inner, shape.dt_rank, index),
      .out_proj = linear(mixer, "out_proj", shape.d_model, inner, index),
      .conv_weight = {mixer + "conv1d.weight", {inner, 1, shape.d_conv}},
      .conv_bias = std::nullopt,
      .in_bias = std::nullopt,
      .out_bias = std::nullopt,
      .dt_bias = {mixer + "dt_proj.bias", {inner}},
      .a_log = {mixer + "A_log", {inner, shape.d_state}},
      .d = {mixer + "D", {inner}},
  };
  if (shape.use_conv_bias) spec.conv_bias = SmallSpec{mixer + "conv1d.bias", {inner}};
  if (shape.use_bias) {
    spec.in_bias = SmallSpec{mixer + "in_proj.bias", {2 * inner}};
    spec.out_bias = SmallSpec{mixer + "out_proj.bias", {shape.d_model}};
  }
  return {.norm = {layer + "norm.weight", {shape.d_model}},
          .norm_eps = shape.norm_eps,
          .mixer = std::move(spec)};
}

ModelSpec mamba1_model(const Mamba1Shape& shape, const std::string& embedding) {
  ModelSpec spec;
  spec.vocab = shape.vocab;
  spec.d_model = shape.d_model;
  for (int64_t i = 0; i < shape.blocks; ++i) spec.blocks.push_back(mamba1_block(shape, i));
  spec.head = {.name = "lm_head",
               .tensor = shape.tied ? embedding + ".weight" : "lm_head.weight",
               .kind = "head",
               .rows = shape.vocab,
               .cols = shape.d_model,
               .block = shape.blocks};
  if (!shape.tied)
    spec.embedding = LinearSpec{.name = embedding,
                                .tensor = embedding + ".weight",
                                .kind = "embedding",
                                .rows = shape.vocab,
                                .cols = shape.d_model,
                                .block = -1};
  spec.final_norm = {"backbone.norm_f.weight", {shape.d_model}};
  spec.final_norm_eps = shape.norm_eps;
  return spec;
}

Mamba1Shape published_shape(const Config& config, const HasTensor& has) {
  const std::string activation = config.text({"hidden_act"}, "silu");
  if (activation != "silu" && activation != "swish")
    config.unsupported("hidden_act \"" + activation +
                       "\" is not one that Mamba blocks of klens have (silu)");
  Mamba1Shape shape{};
  shape.d_model = config.integer({"hidden_size", "d_model"}, 1, kMaxWidth);
  shape.blocks = config.integer({"num_hidden_layers", "n_layer"}, 1, kMaxBlocks);
  shape.vocab = config.integer({"vocab_size"}, 1, kMaxVocab);
  shape.d_inner = config.has({"intermediate_size"})
                      ? config.integer({"intermediate_size"}, 1, kMaxWidth)
                      : config.integer({"expand"}, 1, 64, 2) * shape.d_model;
  shape.d_state = config.integer({"state_size"}, 1, kMaxState, 16);
  shape.d_conv = config.integer({"conv_kernel"}, 1, kMaxConv, 4);
  shape.dt_rank = dt_rank(config, "time_step_rank", shape.d_model);
  shape.use_bias = config.boolean({"use_bias"}, false);
  shape.use_conv_bias = config.boolean({"use_conv_bias"}, true);
  shape.norm_eps = static_cast<float>(config.number({"layer_norm_epsilon"}, 0, 1, 1e-5));
  shape.tied = tied_head(config, "tie_word_embeddings", has);
  return shape;
}

}  // namespace

ModelSpec build_mamba(const Config& config, const HasTensor& has) {
  return mamba1_model(published_shape(config, has), "backbone.embeddings");
}

ModelSpec build_falcon_mamba(const Config& config, const HasTensor& has) {
  Mamba1Shape shape = published_shape(config, has);
  shape.bcdt_norm_eps = static_cast<float>(config.number({"mixer_rms_eps"}, 0, 1, 1e-6));
  return mamba1_model(shape, "backbone.embeddings");
}

ModelSpec build_original_mamba(const Config& config, const HasTensor& has) {
  const Config ssm = config.child("ssm_cfg");
  const std::string layer = ssm.text({"layer"}, "Mamba1");
  if (layer != "Mamba1")
    config.unsupported("ssm_cfg.layer \"" + layer + "\" is not one that klens runs (Mamba1)");
  if (!config.boolean({"rms_norm"}, true))
    config.unsupported("rms_norm false asks for layer norms, which klens lacks");
  if (config.integer({"d_intermediate"}, 0, kMaxWidth, 0) != 0)
    config.unsupported("d_intermediate asks for MLP layers, which klens lacks in this layout");
  if (config.has_content("attn_layer_idx"))
    config.unsupported(
        "attn_layer_idx asks for attention layers, which klens lacks in this layout");
  Mamba1Shape shape{};
  shape.d_model = config.integer({"d_model"}, 1, kMaxWidth);
  shape.blocks = config.integer({"n_layer"}, 1, kMaxBlocks);
  // The published matrices have the padded number of rows.
  const int64_t multiple = config.integer({"pad_vocab_size_multiple"}, 1, 65536, 8);
  shape.vocab = (config.integer({"vocab_size"}, 1, kMaxVocab) + multiple - 1) / multiple * multiple;
  shape.d_inner = ssm.integer({"expand"}, 1, 64, 2) * shape.d_model;
  shape.d_state = ssm.integer({"d_state"}, 1, kMaxState, 16);
  shape.d_conv = ssm.integer({"d_conv"}, 1, kMaxConv, 4);
  shape.dt_rank = dt_rank(ssm, "dt_rank", shape.d_model);
  shape.use_bias = ssm.boolean({"bias"}, false);
  shape.use_conv_bias = ssm.boolean({"conv_bias"}, true);
  shape.norm_eps = 1e-5f;
  shape.tied = tied_head(config, "tie_embeddings", has);
  return mamba1_model(shape, "backbone.embedding");
}

}  // namespace klens
