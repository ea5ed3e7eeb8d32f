// Gated DeltaNet, short convolutions, and Granite without Mamba: what their rules make of configs.
#include <catch2/catch.hpp>

#include "tests/loaders/architectures.h"

namespace klens::testing {

TEST_CASE("qwen3.5: three of four layers are delta rules, norms hold differences from 1",
          "[architectures]") {
  const ModelSpec spec = build_published("qwen3.5-0.8b");
  CHECK(blocks_of(spec).starts_with("D-D-D-*-D-D-D-*-"));
  const DeltaNetSpec& delta = mixer<DeltaNetSpec>(spec, 0);
  CHECK(delta.heads == 16);
  CHECK(delta.key_heads == 16);
  CHECK(delta.k_dim == 128);
  CHECK(delta.v_dim == 128);
  CHECK(delta.in.size() == 4);
  CHECK_FALSE(delta.interleaved);
  CHECK_FALSE(delta.tiled);
  CHECK(delta.beta_scale == 1);
  CHECK(delta.norm.offset == 0);
  CHECK(shape_of(spec, "model.layers.0.linear_attn.conv1d.weight") ==
        std::vector<int64_t>{6144, 1, 4});
  // q and k, whose lengths do not count, and v.
  CHECK(matrix(spec, "model.layers.0.linear_attn.in_proj_qkv").cuts == std::vector<int64_t>{4096});
  const AttentionSpec& attention = mixer<AttentionSpec>(spec, 6);
  CHECK(attention.gated);
  CHECK(matrix(spec, "model.layers.3.self_attn.q_proj").rows == 2 * 8 * 256);
  CHECK(attention.core.q_norm->offset == 1);
  CHECK(spec.ropes.at(0).inv_freq.size() == 32);  // of 128 pairs
  CHECK(spec.blocks[0].norm.offset == 1);
  CHECK(spec.final_norm.offset == 1);
}

TEST_CASE("qwen3-next: interleaved projections, experts with a shared one and its gate",
          "[architectures]") {
  const ModelSpec spec = build_published("qwen3-next-80b-a3b", {"lm_head.weight"});
  CHECK(blocks_of(spec).starts_with("DEDEDE*E"));
  const DeltaNetSpec& delta = mixer<DeltaNetSpec>(spec, 0);
  CHECK(delta.interleaved);
  CHECK(delta.heads == 32);
  CHECK(matrix(spec, "model.layers.0.linear_attn.in_proj_qkvz").rows == 2 * 2048 + 2 * 4096);
  const MoeSpec& moe = mixer<MoeSpec>(spec, 1);
  CHECK(moe.experts.size() == 512);
  CHECK(moe.top_k == 10);
  CHECK(moe.normalise);
  CHECK(moe.shared_gate.has_value());
  CHECK(blocks_of(build_patched("qwen3-next-80b-a3b", R"({"mlp_only_layers":[1]})"))
            .starts_with("DED-DE*E"));
  CHECK(blocks_of(build_patched("qwen3-next-80b-a3b", R"({"decoder_sparse_step":2})"))
            .starts_with("D-DED-*E"));
  // As GGUF files have it.
  const std::string in = "model.layers.0.linear_attn.in_proj_qkv.weight";
  CHECK_FALSE(mixer<DeltaNetSpec>(build_published("qwen3-next-80b-a3b", {"lm_head.weight", in}), 0)
                  .interleaved);
}

TEST_CASE("olmo hybrid: norms before delta rules and after attention", "[architectures]") {
  const ModelSpec spec = build_published("olmo-hybrid-7b", {"lm_head.weight"});
  CHECK(blocks_of(spec).starts_with("D-D-D-*-"));
  CHECK(mixer<DeltaNetSpec>(spec, 0).beta_scale == 2);
  CHECK(mixer<DeltaNetSpec>(spec, 0).norm.eps == 1e-5f);
  CHECK(mixer<DeltaNetSpec>(spec, 0).conv_weights.size() == 3);
  CHECK_FALSE(spec.blocks[0].norm_after);
  CHECK(spec.blocks[6].norm_after);
  CHECK(spec.blocks[7].norm_after);
  CHECK_FALSE(mixer<AttentionSpec>(spec, 6).core.rope.has_value());
  CHECK(mixer<AttentionSpec>(spec, 6).core.norm_over_heads);
  CHECK(shape_of(spec, "model.layers.3.self_attn.q_norm.weight") == std::vector<int64_t>{3840});
  const ModelSpec other = build_patched(
      "olmo-hybrid-7b", R"({"linear_allow_neg_eigval":false,"linear_key_head_dim":null,
          "linear_value_head_dim":null,"rope_parameters":{"rope_theta":500000.0}})");
  CHECK(mixer<DeltaNetSpec>(other, 0).beta_scale == 1);
  CHECK(mixer<DeltaNetSpec>(other, 0).k_dim == 96);
  CHECK(mixer<DeltaNetSpec>(other, 0).v_dim == 192);
  CHECK(mixer<AttentionSpec>(other, 6).core.rope.has_value());
}

TEST_CASE("lfm2: short convolutions, and an MLP as wide as its config comes to",
          "[architectures]") {
  const ModelSpec spec = build_published("lfm2-1.2b");
  CHECK(blocks_of(spec).starts_with("C-C-*-C-"));
  CHECK(matrix(spec, "model.layers.0.feed_forward.w1").rows == 8192);
  CHECK(matrix(spec, "model.layers.0.feed_forward.w1").kind == "gate_proj");
  CHECK(matrix(spec, "model.layers.0.conv.in_proj").cuts == std::vector<int64_t>{2048, 4096});
  CHECK_FALSE(mixer<ShortConvSpec>(spec, 0).conv_bias.has_value());
  CHECK(mixer<AttentionSpec>(spec, 4).core.q_norm->eps == 1e-5f);
  const auto width = [](const char* patch) {
    return matrix(build_patched("lfm2-1.2b", patch), "model.layers.0.feed_forward.w1").rows;
  };
  CHECK(width(R"({"block_auto_adjust_ff_dim":false})") == 12288);
  CHECK(width(R"({"block_ffn_dim_multiplier":1.1,"block_ff_dim":6656})") == 5120);
  const ModelSpec with_experts = build_published("lfm2-8b-a1b");
  const MoeSpec& moe = mixer<MoeSpec>(with_experts, 5);
  CHECK(moe.correction.has_value());
  CHECK(moe.normalise_eps == 1e-6f);
}

TEST_CASE("granite without Mamba: Llama with four multipliers", "[architectures]") {
  const ModelSpec spec = build_published("granite-3.1-2b");
  CHECK(spec.embedding_scale == 12);
  CHECK(spec.logit_scale == 0.125f);
  CHECK(spec.blocks[1].residual_scale == 0.22f);
  CHECK(mixer<AttentionSpec>(spec, 0).core.scale == 0.015625f);
}

TEST_CASE("delta rules and short convolutions: what is refused", "[architectures]") {
  const struct {
    const char *name, *patch, *word;
  } rows[] = {
      {"qwen3.5-0.8b", R"({"attn_output_gate":false})", "attn_output_gate"},
      {"qwen3.5-0.8b", R"({"linear_num_key_heads":3})", "linear_num_key_heads"},
      {"qwen3.5-0.8b", R"({"linear_value_heads":"odd"})", "linear_value_heads"},
      {"qwen3.5-0.8b", R"({"hidden_act":"gelu"})", "hidden_act"},
      {"qwen3.5-0.8b", R"({"layer_types":["linear_attention"]})", "layer_types"},
      {"qwen3-next-80b-a3b", R"({"num_experts_per_tok":513})", "num_experts_per_tok"},
      {"olmo-hybrid-7b", R"({"linear_conv_kernel_dim":99})", "linear_conv_kernel_dim"},
      {"lfm2-1.2b", R"({"full_attn_idxs":null})", "full_attn_idxs"},
      {"lfm2-1.2b", R"({"full_attn_idxs":[16]})", "full_attn_idxs"},
      {"lfm2-8b-a1b", R"({"layer_types":["conv"]})", "layer_types"},
      {"lfm2-1.2b", R"({"use_pos_enc":false})", "use_pos_enc"},
      {"lfm2-8b-a1b", R"({"num_experts_per_tok":33})", "num_experts_per_tok"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name, row.patch);
    CHECK_THAT(refusal([&] { build_patched(row.name, row.patch); }), Catch::Contains(row.word));
  }
}

TEST_CASE("models of this kind that klens lacks are refused by name", "[architectures]") {
  const std::pair<const char*, const char*> rows[] = {
      {"Lfm3ForCausalLM", "sandwich norms"},
      {"Qwen4ExpForConditionalGeneration", "hyper-connections"},
      {"KimiLinearForCausalLM", "latent attention"},
      {"Mamba3ForCausalLM", "trapezoidal"}};
  for (const auto& [name, lacks] : rows) {
    const std::string config = R"({"architectures":[")" + std::string(name) + R"("]})";
    const std::string said = refusal([&] { build(config); });
    CAPTURE(said);
    CHECK_THAT(said, Catch::Contains(name) && Catch::Contains(lacks));
    CHECK(said.find('\n') == said.npos);
  }
}

}  // namespace klens::testing
