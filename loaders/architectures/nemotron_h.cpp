// Nemotron-H (arXiv 2504.03624): a string of Mamba-2, attention without rotation, MLP and
// mixture-of-experts blocks.
#include <algorithm>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// hybrid_override_pattern, a letter for each block, or a list of kinds.
std::vector<std::string> block_kinds(const Config& config) {
  const std::string pattern = config.text({"hybrid_override_pattern"}, "");
  // It may be there and be wrong: the kinds are what counts.
  const int64_t announced = config.integer({"num_hidden_layers"}, 0, kMaxBlocks, 0);
  const int64_t listed = static_cast<int64_t>(
      std::max(config.texts("layers_block_type").size(), config.texts("layer_types").size()));
  if (listed > 0) return layer_kinds(config, listed);
  if (pattern.empty()) config.fail("lacks hybrid_override_pattern and layers_block_type");
  if (announced != 0 && announced != static_cast<int64_t>(pattern.size()))
    config.fail("hybrid_override_pattern is not of num_hidden_layers letters");
  std::vector<std::string> kinds;
  for (const char letter : pattern) switch (letter) {
      case 'M':
        kinds.push_back("mamba");
        break;
      case '*':
        kinds.push_back("attention");
        break;
      case '-':
        kinds.push_back("mlp");
        break;
      case 'E':
        kinds.push_back("moe");
        break;
      default:
        config.unsupported("hybrid_override_pattern has a letter other than M, *, - and E");
    }
  return kinds;
}

struct NemotronMoeShape {
  int64_t experts = 0, top_k = 0, d_inner = 0, shared_width = 0;
  std::optional<int64_t> latent;
  int64_t groups = 1, top_groups = 1;
  bool normalise = true;
  float routed_scale = 1;
};

NemotronMoeShape nemotron_moe_shape(const Config& config) {
  NemotronMoeShape shape;
  shape.experts = config.integer({"n_routed_experts", "num_local_experts"}, 1, kMaxExperts, 8);
  shape.top_k = config.integer({"num_experts_per_tok"}, 1, kMaxExperts, 2);
  shape.d_inner = config.integer({"moe_intermediate_size"}, 1, kMaxWidth, 7688);
  config.integer({"n_shared_experts"}, 0, 1, 1);  // its width is a key of its own
  shape.shared_width = config.integer({"moe_shared_expert_intermediate_size"}, 1, kMaxWidth, 7688);
  if (config.has({"moe_latent_size"}))
    shape.latent = config.integer({"moe_latent_size"}, 1, kMaxWidth);
  shape.groups = config.integer({"n_group"}, 1, kMaxExperts, 1);
  shape.top_groups = config.integer({"topk_group"}, 1, kMaxExperts, 1);
  shape.normalise = config.boolean({"norm_topk_prob"}, true);
  shape.routed_scale = multiplier(config, "routed_scaling_factor");
  return shape;
}

// The sizes must fit only where there are experts: configs without write them too.
void check_groups(const Config& config, const NemotronMoeShape& shape) {
  if (shape.experts % shape.groups != 0) config.fail("n_group does not divide n_routed_experts");
  const int64_t each = shape.experts / shape.groups;
  // A group is as good as its two best experts.
  if (each < 2) config.fail("n_group leaves less than two experts to a group");
  if (shape.top_groups > shape.groups) config.fail("topk_group is larger than n_group");
  if (shape.top_k > shape.top_groups * each)
    config.fail("num_experts_per_tok is larger than the chosen groups");
}

MoeSpec nemotron_moe(SpecBuilder& builder, const std::string& prefix, const NemotronMoeShape& shape,
                     Activation act, bool bias) {
  check_groups(builder.config(), shape);
  const int64_t d_model = builder.d_model(), width = shape.latent.value_or(d_model);
  MoeSpec spec;
  spec.scores = MoeSpec::Scores::kSigmoid;
  spec.top_k = shape.top_k;
  spec.router = builder.small(prefix + "gate.weight", {shape.experts, d_model});
  spec.correction = builder.small(prefix + "gate.e_score_correction_bias", {shape.experts});
  spec.groups = shape.groups;
  spec.top_groups = shape.top_groups;
  spec.normalise = shape.normalise;
  spec.routed_scale = shape.routed_scale;
  if (shape.latent)
    spec.latent = builder.projection(prefix + "fc1_latent_proj", width, d_model, bias);
  const StackedExperts stack{.in = prefix + "experts.up_proj",
                             .down = prefix + "experts.down_proj",
                             .count = shape.experts,
                             .width = width,
                             .d_inner = shape.d_inner,
                             .gated = false,
                             .activation = act};
  const bool stacked = builder.has(stack.in);  // as newer programs may write them
  for (int64_t e = 0; e < shape.experts; ++e) {
    const std::string expert = prefix + "experts." + std::to_string(e) + ".";
    spec.experts.push_back(stacked ? stacked_expert(builder, stack, e)
                                   : plain_mlp(builder, expert, width, shape.d_inner, act, false));
  }
  if (shape.latent)
    spec.unlatent = builder.projection(prefix + "fc2_latent_proj", d_model, width, bias);
  spec.shared =
      plain_mlp(builder, prefix + "shared_experts.", d_model, shape.shared_width, act, bias);
  return spec;
}

Mamba2Shape nemotron_mamba_shape(const Config& config, float norm_eps) {
  require_silu(config, "mamba_hidden_act");
  Mamba2Shape shape;
  shape.heads = config.integer({"mamba_num_heads"}, 1, kMaxHeads, 128);
  shape.head_dim = config.integer({"mamba_head_dim"}, 1, 64 * kMaxWidth / shape.heads, 64);
  shape.d_inner = shape.heads * shape.head_dim;  // whatever expand is
  shape.groups = config.integer({"n_groups", "mamba_n_groups"}, 1, kMaxHeads, 8);
  shape.d_state = config.integer({"ssm_state_size"}, 1, kMaxState, 128);
  shape.d_conv = config.integer({"conv_kernel", "mamba_d_conv"}, 1, kMaxConv, 4);
  shape.in_bias = shape.out_bias = config.boolean({"use_bias"}, false);
  shape.conv_bias = config.boolean({"use_conv_bias", "mamba_conv_bias"}, true);
  shape.norm_eps = norm_eps;
  // The published code (modeling_nemotron_h.py of nvidia/Nemotron-H-8B-Base-8K and of the 30B)
  // gives its CUDA kernels dt_limit=time_step_limit; time_step_min, _max and _floor are how dt_bias
  // was initialised. transformers' own port clamps to time_step_min (its pull request 48989).
  read_time_step_limit(config, shape);
  read_time_step_limit(config, shape, "mamba_dt_limit");
  config.integer({"expand", "mamba_expand"}, 1, 64, 2);
  return shape;
}

struct NemotronShape {
  Mamba2Shape mamba;
  AttentionShape attention;
  NemotronMoeShape moe;
  int64_t mlp_width = 0;
  bool mlp_bias = false;
  Activation activation = Activation::kRelu2;
};

NemotronShape nemotron_shape(const Config& config, int64_t d_model, float norm_eps) {
  NemotronShape shape;
  shape.mamba = nemotron_mamba_shape(config, norm_eps);
  shape.attention = attention_shape(config, d_model);
  shape.attention.head_dim =
      config.integer({"head_dim", "attention_head_dim"}, 1, kMaxWidth / shape.attention.heads, 128);
  shape.moe = nemotron_moe_shape(config);
  shape.mlp_width = config.integer({"intermediate_size"}, 1, kMaxWidth, 21504);
  shape.mlp_bias = config.boolean({"mlp_bias"}, false);
  shape.activation = activation(config, "mlp_hidden_act", "relu2");
  return shape;
}

BlockSpec block(SpecBuilder& builder, const std::string& layer, const std::string& kind,
                const NemotronShape& shape, float norm_eps) {
  BlockSpec block{.norm = builder.norm(layer + "norm", builder.d_model(), norm_eps),
                  .mixer = {},
                  .shared = std::nullopt};
  const std::string mixer = layer + "mixer.";
  if (kind == "mamba") {
    block.mixer = mamba2(builder, mixer, shape.mamba);
  } else if (kind == "attention") {
    block.mixer = attention(builder, mixer, shape.attention);
  } else if (kind == "mlp") {
    block.mixer = plain_mlp(builder, mixer, builder.d_model(), shape.mlp_width, shape.activation,
                            shape.mlp_bias);
  } else if (kind == "moe") {
    block.mixer = nemotron_moe(builder, mixer, shape.moe, shape.activation, shape.mlp_bias);
  } else {
    builder.config().unsupported("names a layer \"" + kind + "\", which Nemotron-H lacks");
  }
  return block;
}

}  // namespace

ModelSpec build_nemotron_h(const Config& config, const HasTensor& has) {
  const int64_t d_model = config.integer({"hidden_size"}, 1, kMaxWidth);
  const int64_t vocab = config.integer({"vocab_size"}, 1, kMaxVocab);
  const auto norm_eps = static_cast<float>(
      config.number({"layer_norm_epsilon", "norm_eps", "rms_norm_eps"}, 0, 1, 1e-5));
  const std::vector<std::string> kinds = block_kinds(config);
  // Configs may describe a rotation; there is none.
  config.number({"partial_rotary_factor"}, 0, 1, 1);
  config.has({"rope_parameters", "rope_scaling"});
  // Its mixers look at use_bias alone.
  config.boolean({"mamba_proj_bias"}, false);
  const NemotronShape shape = nemotron_shape(config, d_model, norm_eps);
  // Published under "backbone."; newer programs may write "model.".
  const std::string outer = has("model.norm_f.weight") ? "model." : "backbone.";

  SpecBuilder builder(config, has, vocab, d_model, outer + "embeddings",
                      tied_head(config, has, false));
  for (size_t i = 0; i < kinds.size(); ++i)
    builder.add(
        block(builder, outer + "layers." + std::to_string(i) + ".", kinds[i], shape, norm_eps));
  return builder.finish(outer + "norm_f", norm_eps);
}

}  // namespace klens
