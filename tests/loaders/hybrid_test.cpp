// Specs of Jamba, Bamba, Granite hybrids, Falcon-H1 and Nemotron-H.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/loaders/architectures.h"

namespace klens::testing {
namespace {

using Shape = std::vector<int64_t>;

// What refusing a published config with a patch says.
std::string said_of(const char* name, const char* patch) {
  return refusal([&] { build_patched(name, patch); });
}

struct Refusal {
  const char* name;
  const char* patch;
  const char* word;
};

}  // namespace

TEST_CASE("jamba: attention, experts and MLPs in turn", "[architectures]") {
  const ModelSpec spec = build_published("jamba-v0.1", {"lm_head.weight"});
  CHECK(blocks_of(spec).substr(0, 16) == "m-mEm-mE*-mEm-mE");
  CHECK(spec.ropes.empty());
  const Mamba1Spec& first = mixer<Mamba1Spec>(spec, 0);
  REQUIRE(first.scan.b_norm);
  CHECK(first.scan.b_norm->weight);
  CHECK(first.scan.dt_norm->eps == 1e-6f);
  CHECK(shape_of(spec, "model.layers.0.mamba.dt_layernorm.weight") == Shape{256});
  const MoeSpec& moe = mixer<MoeSpec>(spec, 3);
  CHECK(moe.scores == MoeSpec::Scores::kSoftmax);
  CHECK(!moe.normalise);
  CHECK(moe.top_k == 2);
  CHECK(moe.experts.size() == 16);
  CHECK(!moe.shared);
  CHECK(spec.smalls.at(moe.router).shape == Shape{16, 4096});
  CHECK(matrix(spec, "model.layers.1.feed_forward.experts.15.down_proj").cols == 14336);
  const AttentionSpec& attention = mixer<AttentionSpec>(spec, 8);
  CHECK(!attention.core.rope);
  CHECK(attention.core.scale == Approx(1 / std::sqrt(128.0)));
  // As newer programs may write experts.
  const std::string stack = "model.layers.1.feed_forward.experts.";
  const ModelSpec stacked =
      build_published("jamba-v0.1", {"lm_head.weight", stack + "gate_up_proj"});
  CHECK(stacked.parameters() == spec.parameters());
  CHECK(matrix(stacked, stack + "gate_up_proj.3").first_row == 3 * 2 * 14336);
  CHECK(matrix(stacked, stack + "down_proj.3").tensor_shape == Shape{16, 4096, 14336});
  // One expert is none.
  CHECK(blocks_of(build_patched("jamba-v0.1", R"({"num_experts":1,"num_experts_per_tok":1})"))
            .find('E') == std::string::npos);
}

TEST_CASE("bamba: attention rotates half of each head", "[architectures]") {
  const ModelSpec spec = build_published("bamba-9b", {"lm_head.weight"});
  CHECK(blocks_of(spec).substr(16, 6) == "M-*-M-");
  REQUIRE(spec.ropes.size() == 1);
  CHECK(spec.ropes[0].inv_freq.size() == 32);
  CHECK(spec.ropes[0].inv_freq[1] == Approx(std::pow(10000.0, -2.0 / 64)));
  CHECK(mixer<AttentionSpec>(spec, 18).core.rope == 0);
  CHECK(mixer<Mamba2Spec>(spec, 0).heads == 128);
  CHECK(mixer<Mamba2Spec>(spec, 0).norm->eps == 1e-5f);
  CHECK(blocks_of(build_patched("bamba-9b", R"({"attn_layer_indices":null,"num_hidden_layers":2,
      "layer_types":["full_attention","linear_attention"],"mamba_d_head":"auto"})")) == "*-M-");
  CHECK(find_small(build_patched("bamba-9b", R"({"mlp_bias":true})"),
                   "model.layers.0.feed_forward.down_proj.bias"));
}

TEST_CASE("granite: multipliers, with and without experts", "[architectures]") {
  const ModelSpec dense = build_published("granite-4.0-h-micro");
  CHECK(blocks_of(dense).substr(0, 14) == "M-M-M-M-M-*-M-");
  CHECK(dense.embedding_scale == 12);
  CHECK(dense.logit_scale == 0.125f);
  CHECK(dense.ropes.empty());
  for (const BlockSpec& block : dense.blocks) CHECK(block.residual_scale == 0.22f);
  CHECK(mixer<AttentionSpec>(dense, 10).core.scale == 0.015625f);
  CHECK(matrix(dense, "model.layers.0.shared_mlp.input_linear").rows == 2 * 8192);
  const ModelSpec sparse = build_published("granite-4.0-h-tiny");
  CHECK(blocks_of(sparse).substr(0, 14) == "MEMEMEMEME*EME");
  const MoeSpec& moe = mixer<MoeSpec>(sparse, 1);
  CHECK(moe.scores == MoeSpec::Scores::kSoftmaxOfChosen);
  CHECK(moe.top_k == 6);
  CHECK(moe.experts.size() == 64);
  REQUIRE(moe.shared);
  CHECK(moe.shared->d_inner == 1024);
  const std::string experts = "model.layers.0.block_sparse_moe.";
  const MatrixSpec& in = matrix(sparse, experts + "input_linear.63");
  CHECK(in.tensor == experts + "input_linear.weight");
  CHECK(in.kind == "gate_up_proj");
  CHECK(in.tensor_shape == Shape{64, 1024, 1536});
  CHECK(in.first_row == 63 * 1024);
  CHECK(matrix(sparse, experts + "output_linear.0").tensor_shape == Shape{64, 1536, 512});
  CHECK(sparse.smalls.at(moe.router).tensor == experts + "router.layer.weight");
  const ModelSpec newer = build_published("granite-4.0-h-tiny", {experts + "experts.gate_up_proj"});
  CHECK(matrix(newer, experts + "experts.down_proj.1").first_row == 1536);
  CHECK(newer.parameters() == sparse.parameters());
  const ModelSpec rotated =
      build_patched("granite-4.0-h-micro", R"({"position_embedding_type":"rope"})");
  CHECK(rotated.ropes.size() == 1);
  CHECK(mixer<AttentionSpec>(rotated, 10).core.rope == 0);
}

TEST_CASE("falcon-h1: both mixers and their multipliers", "[architectures]") {
  const ModelSpec spec = build_published("falcon-h1-0.5b", {"lm_head.weight"});
  CHECK(blocks_of(spec).substr(0, 4) == "P-P-");
  const ParallelSpec& first = mixer<ParallelSpec>(spec, 0);
  CHECK(first.mamba.d_inner == 1536);
  CHECK(!first.mamba.norm);
  CHECK(first.mamba.input_scale == 1.25f);
  CHECK(first.mamba.output_scale == Approx(0.23570226));
  CHECK(first.mamba.z_scale == Approx(0.35355339));
  CHECK(first.mamba.x_scale == 0.25f);
  CHECK(first.mamba.c_scale == 0.5f);
  CHECK(first.attention.output_scale == 0.9375f);
  CHECK(first.attention.core.key_scale == Approx(0.390625));
  CHECK(first.attention.core.rope == 0);
  CHECK(mixer<MlpSpec>(spec, 1).gate_scale == Approx(0.88388347));
  CHECK(mixer<MlpSpec>(spec, 1).output_scale == 0.5859375f);
  CHECK(spec.embedding_scale == Approx(5.6568542));
  CHECK(spec.logit_scale == 0.0390625f);
  const ModelSpec odd = build_patched("falcon-h1-0.5b", R"({"mamba_rms_norm":true,
      "mamba_norm_before_gate":null,"mamba_n_groups":2,"mamba_proj_bias":true,
      "attention_bias":true,"mlp_bias":true,"ssm_multipliers":null,"mlp_multipliers":null})");
  const ParallelSpec& other = mixer<ParallelSpec>(odd, 0);
  REQUIRE(other.mamba.norm);
  CHECK(other.mamba.norm_before_gate);
  CHECK(other.mamba.norm_groups == 2);
  CHECK(other.mamba.x_scale == 1);
  CHECK(other.mamba.in_proj.bias);
  CHECK(!other.mamba.out_proj.bias);
  CHECK(other.attention.o_proj.bias);
  CHECK(find_small(build_patched("falcon-h1-0.5b", R"({"projectors_bias":true})"),
                   "model.layers.0.mamba.out_proj.bias"));
  const ModelSpec wide =
      build_patched("falcon-h1-0.5b", R"({"mamba_d_ssm":null,"mamba_n_heads":32})");
  CHECK(mixer<ParallelSpec>(wide, 0).mamba.d_inner == 2048);
}

TEST_CASE("nemotron-h: blocks by letters", "[architectures]") {
  const ModelSpec spec = build_published("nemotron-h-8b", {"lm_head.weight"});
  CHECK(blocks_of(spec) == "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-");
  CHECK(spec.ropes.empty());
  const Mamba2Spec& first = mixer<Mamba2Spec>(spec, 0);
  CHECK(first.norm_groups == 8);
  CHECK(first.dt_min == 0);  // time_step_limit, not time_step_min
  CHECK(std::isinf(first.dt_max));
  CHECK(!first.f32_state);
  CHECK(!mixer<MlpSpec>(spec, 1).gated);
  CHECK(mixer<MlpSpec>(spec, 1).activation == Activation::kRelu2);
  CHECK(spec.caches.at(0).k_dim == 128);
  CHECK(has_matrix(spec, "backbone.layers.7.mixer.q_proj"));
  const ModelSpec newer =
      build_published("nemotron-h-8b", {"lm_head.weight", "model.norm_f.weight"});
  CHECK(has_matrix(newer, "model.layers.7.mixer.q_proj"));
  CHECK(spec.parameters() == newer.parameters());
  const ModelSpec listed = build_patched("nemotron-h-8b", R"({"hybrid_override_pattern":null,
      "layers_block_type":["mamba","mlp","attention","moe"],"num_hidden_layers":null})");
  CHECK(blocks_of(listed) == "M-*E");
}

TEST_CASE("nemotron-h: experts", "[architectures]") {
  const ModelSpec spec = build_published("nemotron-3-nano-30b", {"lm_head.weight"});
  const MoeSpec& moe = mixer<MoeSpec>(spec, 1);
  CHECK(moe.scores == MoeSpec::Scores::kSigmoid);
  CHECK(moe.experts.size() == 128);
  CHECK(moe.top_k == 6);
  CHECK(moe.normalise);
  CHECK(moe.routed_scale == 2.5f);
  REQUIRE(moe.correction);
  CHECK(spec.smalls.at(*moe.correction).tensor ==
        "backbone.layers.1.mixer.gate.e_score_correction_bias");
  REQUIRE(moe.shared);
  CHECK(moe.shared->d_inner == 3712);
  CHECK(!moe.latent);
  CHECK(!moe.experts[0].gated);
  const std::string prefix = "backbone.layers.1.mixer.";
  CHECK(matrix(spec, prefix + "experts.127.up_proj").cols == 2688);
  const ModelSpec stacked =
      build_published("nemotron-3-nano-30b", {"lm_head.weight", prefix + "experts.up_proj"});
  CHECK(matrix(stacked, prefix + "experts.up_proj.2").tensor_shape == Shape{128, 1856, 2688});
  CHECK(stacked.parameters() == spec.parameters());
  const ModelSpec latent =
      build_patched("nemotron-3-nano-30b", R"({"moe_latent_size":64,"n_group":8,"topk_group":4})");
  const MoeSpec& small = mixer<MoeSpec>(latent, 1);
  REQUIRE(small.latent);
  CHECK(matrix(latent, prefix + "fc1_latent_proj").rows == 64);
  CHECK(matrix(latent, prefix + "fc2_latent_proj").cols == 64);
  CHECK(matrix(latent, prefix + "experts.0.down_proj").rows == 64);
  CHECK(matrix(latent, prefix + "shared_experts.up_proj").cols == 2688);
  CHECK(small.groups == 8);
  CHECK(small.top_groups == 4);
}

TEST_CASE("hybrids: what is refused", "[architectures]") {
  const Refusal rows[] = {
      {"jamba-v0.1", R"({"attn_layer_offset":8})", "attn_layer_offset"},
      {"jamba-v0.1", R"({"num_experts_per_tok":17})", "num_experts_per_tok"},
      {"jamba-v0.1", R"({"mamba_inner_layernorms":false})", "mamba_inner_layernorms"},
      {"jamba-v0.1", R"({"sliding_window":512})", "sliding_window"},
      {"jamba-v0.1", R"({"hidden_act":"gelu"})", "hidden_act"},
      {"bamba-9b", R"({"attn_layer_indices":[32]})", "attn_layer_indices"},
      {"bamba-9b", R"({"attn_rotary_emb":128})", "attn_rotary_emb"},
      {"bamba-9b", R"({"mamba_d_head":32})", "do not make up its width"},
      {"bamba-9b", R"({"rope_scaling":{"type":"su"}})", "su"},
      {"granite-4.0-h-micro", R"({"position_embedding_type":"alibi"})", "alibi"},
      {"granite-4.0-h-micro", R"({"normalization_function":"layernorm"})", "normalization"},
      {"granite-4.0-h-tiny", R"({"num_experts_per_tok":65})", "num_experts_per_tok"},
      {"granite-4.0-h-tiny", R"({"intermediate_size":0})", "intermediate_size"},
      {"granite-4.0-h-tiny", R"({"logits_scaling":0})", "logits_scaling"},
      {"falcon-h1-0.5b", R"({"ssm_multipliers":[1,2]})", "ssm_multipliers"},
      {"falcon-h1-0.5b", R"({"mlp_multipliers":[1,-2]})", "mlp_multipliers"},
      {"falcon-h1-0.5b", R"({"key_multiplier":"x"})", "key_multiplier"},
      {"falcon-h1-0.5b", R"({"attn_layer_indices":[1]})", "attn_layer_indices"},
      {"falcon-h1-0.5b", R"({"mamba_use_mlp":false})", "mamba_use_mlp"},
      {"nemotron-h-8b", R"({"hybrid_override_pattern":"M-X","num_hidden_layers":3})", "letter"},
      {"nemotron-h-8b", R"({"hybrid_override_pattern":null})", "hybrid_override_pattern"},
      {"nemotron-h-8b", R"({"num_hidden_layers":51})", "num_hidden_layers"},
      {"nemotron-3-nano-30b", R"({"n_group":3})", "n_group"},
      {"nemotron-3-nano-30b", R"({"n_group":128})", "n_group"},
      {"nemotron-3-nano-30b", R"({"topk_group":2})", "topk_group"},
      {"nemotron-3-nano-30b", R"({"n_group":32,"topk_group":1})", "num_experts_per_tok"},
      {"nemotron-3-nano-30b", R"({"n_shared_experts":2})", "n_shared_experts"},
  };
  for (const Refusal& row : rows) {
    CAPTURE(row.name, row.patch);
    CHECK_THAT(said_of(row.name, row.patch),
               Catch::StartsWith("config.json") && Catch::Contains(row.word));
  }
}

}  // namespace klens::testing
