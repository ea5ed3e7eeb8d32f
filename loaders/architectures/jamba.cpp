// Jamba (arXiv 2403.19887): Mamba-1 with norms of dt, B and C, every few layers attention without
// rotation, and an MLP or a mixture of experts after each.
#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

// Every period-th layer from `offset` on.
struct Turn {
  int64_t period, offset;
  bool has(int64_t layer) const { return layer % period == offset; }
};

Turn read_turn(const Config& config, const char* period_key, const char* offset_key, Turn usual) {
  Turn turn{.period = config.integer({period_key}, 1, kMaxBlocks, usual.period), .offset = 0};
  turn.offset = config.integer({offset_key}, 0, kMaxBlocks, usual.offset);
  if (turn.offset >= turn.period)
    config.fail(std::string(offset_key) + " is not below " + period_key);
  return turn;
}

Mamba1Spec jamba_mixer(SpecBuilder& builder, const std::string& prefix, const Mamba1Shape& shape,
                       float eps) {
  Mamba1Spec spec = mamba1(builder, prefix, shape);
  spec.scan.dt_norm = builder.norm(prefix + "dt_layernorm", shape.dt_rank, eps);
  spec.scan.b_norm = builder.norm(prefix + "b_layernorm", shape.d_state, eps);
  spec.scan.c_norm = builder.norm(prefix + "c_layernorm", shape.d_state, eps);
  return spec;
}

MoeSpec jamba_moe(SpecBuilder& builder, const std::string& prefix, int64_t experts, int64_t top_k,
                  int64_t d_inner, Activation act) {
  MoeSpec spec;
  spec.scores = MoeSpec::Scores::kSoftmax;
  spec.top_k = top_k;
  spec.router = builder.small(prefix + "router.weight", {experts, builder.d_model()});
  const StackedExperts stack{.in = prefix + "experts.gate_up_proj",
                             .down = prefix + "experts.down_proj",
                             .count = experts,
                             .width = builder.d_model(),
                             .d_inner = d_inner,
                             .gated = true,
                             .activation = act};
  const bool stacked = builder.has(stack.in);  // as newer programs may write them
  for (int64_t e = 0; e < experts; ++e)
    spec.experts.push_back(
        stacked ? stacked_expert(builder, stack, e)
                : gated_mlp(builder, prefix + "experts." + std::to_string(e) + ".", d_inner, act));
  return spec;
}

}  // namespace

ModelSpec build_jamba(const Config& config, const HasTensor& has) {
  const ModelSizes sizes = model_sizes(config, 1e-6);
  const int64_t d_inner = config.integer({"intermediate_size"}, 1, kMaxWidth);
  const Turn attends = read_turn(config, "attn_layer_period", "attn_layer_offset", {8, 4});
  const Turn routes = read_turn(config, "expert_layer_period", "expert_layer_offset", {2, 1});
  const int64_t experts = config.integer({"num_experts", "num_local_experts"}, 1, kMaxExperts, 16);
  const int64_t top_k = config.integer({"num_experts_per_tok"}, 1, experts, 2);
  require_silu(config, "hidden_act");
  if (!config.boolean({"mamba_inner_layernorms"}, true))
    config.unsupported("mamba_inner_layernorms false is not what Jamba does");
  const Mamba1Shape mamba = mamba_dt_shape(config, sizes.d_model);
  const AttentionShape attention_sizes = attention_shape(config, sizes.d_model);

  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    BlockSpec mix{.norm = builder.norm(layer + "input_layernorm", sizes.d_model, sizes.norm_eps),
                  .mixer = {},
                  .shared = std::nullopt};
    if (attends.has(i))
      mix.mixer = attention(builder, layer + "self_attn.", attention_sizes);
    else
      mix.mixer = jamba_mixer(builder, layer + "mamba.", mamba, sizes.norm_eps);
    builder.add(std::move(mix));
    BlockSpec forward{
        .norm = builder.norm(layer + "pre_ff_layernorm", sizes.d_model, sizes.norm_eps),
        .mixer = {},
        .shared = std::nullopt};
    const std::string prefix = layer + "feed_forward.";
    if (experts > 1 && routes.has(i))
      forward.mixer = jamba_moe(builder, prefix, experts, top_k, d_inner, Activation::kSilu);
    else
      forward.mixer = gated_mlp(builder, prefix, d_inner, Activation::kSilu);
    builder.add(std::move(forward));
  }
  return builder.finish("model.final_layernorm", sizes.norm_eps);
}

}  // namespace klens
