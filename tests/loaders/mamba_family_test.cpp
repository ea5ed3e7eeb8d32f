// Specs of Mamba-2, Zamba and Zamba2.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/loaders/architectures.h"

namespace klens::testing {
namespace {

using Shape = std::vector<int64_t>;

std::string repeat(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

const MatrixSpec& matrix_of(const ModelSpec& spec, MatrixId id) { return spec.matrices.at(id); }

}  // namespace

TEST_CASE("mamba2: the original layout", "[architectures]") {
  const ModelSpec spec = build_published("mamba2-130m");
  CHECK(spec.architecture == "MambaLMHeadModel");
  CHECK(spec.vocab == 50288);
  CHECK(blocks_of(spec) == std::string(24, 'M'));
  CHECK(matrix(spec, "lm_head").tensor == "backbone.embedding.weight");
  const Mamba2Spec& first = mixer<Mamba2Spec>(spec, 0);
  CHECK(first.d_inner == 1536);
  CHECK(first.heads == 24);
  CHECK(first.head_dim == 64);
  CHECK(first.d_state == 128);
  CHECK(first.groups == 1);
  CHECK(first.norm_groups == 1);
  REQUIRE(first.norm);
  CHECK(first.norm->eps == 1e-5f);
  CHECK(!first.norm_before_gate);
  CHECK(first.dt_min == 0);
  CHECK(std::isinf(first.dt_max));
  CHECK(matrix(spec, "backbone.layers.0.mixer.in_proj").rows == 2 * 1536 + 2 * 128 + 24);
  CHECK(shape_of(spec, "backbone.layers.23.mixer.dt_bias") == Shape{24});

  const ModelSpec odd = build_patched("mamba2-130m", R"({"ssm_cfg":{"headdim":32,"ngroups":2,
      "d_state":64,"d_conv":3,"expand":1,"bias":true,"conv_bias":false,"norm_before_gate":true,
      "dt_limit":[0.5,1],"chunk_size":64,"dt_min":0.01}})");
  const Mamba2Spec& other = mixer<Mamba2Spec>(odd, 0);
  CHECK(other.heads == 24);
  CHECK(other.d_inner == 768);
  CHECK(other.groups == 2);
  CHECK(other.norm_groups == 2);
  CHECK(other.d_conv == 3);
  CHECK(other.in_proj.bias);
  CHECK(!other.conv_bias);
  CHECK(other.norm_before_gate);
  CHECK(other.dt_min == 0.5f);
  CHECK(other.dt_max == 1);
  for (const char* bad : {R"({"ssm_cfg":{"rmsnorm":false}})", R"({"ssm_cfg":{"D_has_hdim":true}})",
                          R"({"ssm_cfg":{"d_ssm":512}})", R"({"attn_layer_idx":[1]})",
                          R"({"attn_cfg":{"causal":true}})", R"({"ssm_cfg":{"headdim":7}})"}) {
    CAPTURE(bad);
    CHECK(refusal([&] { build_patched("mamba2-130m", bad); }) != "");
  }
}

TEST_CASE("mamba2: Codestral's sizes, wherever its tensors lie", "[architectures]") {
  const ModelSpec plain = build_published("mamba-codestral-7b", {"lm_head.weight"});
  CHECK(matrix_of(plain, plain.embedding).tensor == "backbone.embeddings.weight");
  const Mamba2Spec& first = mixer<Mamba2Spec>(plain, 0);
  CHECK(first.norm_groups == 8);
  CHECK(!first.norm_before_gate);  // whatever the config says
  const ModelSpec moved = build_published("mamba-codestral-7b",
                                          {"model.backbone.norm_f.weight", "model.lm_head.weight"});
  CHECK(matrix_of(moved, moved.embedding).tensor == "model.backbone.embeddings.weight");
  CHECK(matrix(moved, "lm_head").tensor == "model.lm_head.weight");
  CHECK(has_matrix(moved, "model.backbone.layers.63.mixer.out_proj"));
  CHECK(moved.parameters() == plain.parameters());
  CHECK_THAT(refusal([] { build_published("mamba-codestral-7b"); }),
             Catch::Contains("there is no tensor lm_head.weight"));
  CHECK(build_patched("mamba-codestral-7b", R"({"tie_word_embeddings":null})", {}).tied());
}

TEST_CASE("mamba2: sizes that disagree are refused", "[architectures]") {
  const auto said = [](const char* patch) {
    return refusal([&] { build_patched("mamba-codestral-7b", patch); });
  };
  CHECK_THAT(said(R"({"num_heads":64})"), Catch::Contains("do not make up its width"));
  CHECK_THAT(said(R"({"n_groups":3})"), Catch::Contains("groups do not divide its heads"));
  CHECK_THAT(said(R"({"rms_norm":false})"), Catch::Contains("rms_norm"));
  CHECK_THAT(said(R"({"hidden_act":"gelu"})"), Catch::Contains("hidden_act"));
  CHECK_THAT(said(R"({"time_step_limit":[1]})"), Catch::Contains("time_step_limit"));
  CHECK_THAT(said(R"({"time_step_limit":[2,1]})"), Catch::Contains("time_step_limit"));
  CHECK_THAT(said(R"({"time_step_limit":[-2,-1]})"), Catch::Contains("time_step_limit"));
  CHECK_THAT(said(R"({"time_step_limit":["a","b"]})"), Catch::Contains("time_step_limit"));
}

TEST_CASE("zamba2: one transformer at six places, with adapters of their own", "[architectures]") {
  const ModelSpec spec = build_published("zamba2-1.2b");
  CHECK(blocks_of(spec) == repeat("MMMMMsM", 6) + "MM");
  REQUIRE(spec.ropes.size() == 1);
  CHECK(spec.ropes[0].inv_freq.size() == 64);
  const SharedTransformerSpec& first = *spec.blocks.at(5).shared;
  const SharedTransformerSpec& second = *spec.blocks.at(11).shared;
  // What they share is declared once, where it is first used.
  CHECK(first.attention.o_proj.matrix == second.attention.o_proj.matrix);
  CHECK(first.mlp.in[0].matrix == second.mlp.in[0].matrix);
  CHECK(first.input_norm.weight == second.input_norm.weight);
  CHECK(first.linear.matrix != second.linear.matrix);
  const std::string block = "model.layers.5.shared_transformer.";
  CHECK(matrix_of(spec, second.attention.qkv[0].matrix).name == block + "self_attn.q_proj");
  CHECK(matrix_of(spec, second.attention.qkv[0].matrix).block == 5);
  REQUIRE(second.attention.qkv[1].adapter);
  const MatrixSpec& down = matrix_of(spec, second.attention.qkv[1].adapter->down);
  CHECK(down.name == block + "self_attn.linear_k_adapter_list.1.0");
  CHECK(down.kind == "adapter_down");
  CHECK(down.rows == 128);
  CHECK(down.cols == 4096);
  CHECK(down.block == 11);
  const MatrixSpec& up = matrix_of(spec, second.mlp.in[0].adapter->up);
  CHECK(up.name == block + "feed_forward.gate_up_proj_adapter_list.1.1");
  CHECK(up.rows == 2 * 8192);
  CHECK(up.cols == 128);
  CHECK(matrix_of(spec, second.linear.matrix).name == "model.layers.11.linear");
  CHECK(first.mlp.activation == Activation::kGelu);
  CHECK(first.attention.core.scale == Approx(1 / std::sqrt(64.0)));
  CHECK(first.attention.core.cache != second.attention.core.cache);
  CHECK(spec.caches.at(1).first_block == 11);
  CHECK(spec.caches.at(0).kv_heads == 32);
  CHECK(spec.caches.at(0).k_dim == 128);
  CHECK(shape_of(spec, block + "input_layernorm.weight") == Shape{4096});
  CHECK(has_matrix(spec, "model.layers.5.mamba_decoder.mamba.in_proj"));
  CHECK(has_matrix(spec, "model.layers.6.mamba.in_proj"));
  const Mamba2Spec& mamba = mixer<Mamba2Spec>(spec, 5);
  CHECK(mamba.dt_min == 0);  // time_step_limit null, whatever time_step_min is
  CHECK(mamba.norm->eps == 1e-5f);
  CHECK(mamba.d_state == 128);
}

TEST_CASE("zamba2: two transformers take turns", "[architectures]") {
  const ModelSpec spec = build_published("zamba2-2.7b");
  CHECK(spec.ropes.empty());
  const auto owner = [&](size_t block) {
    return matrix_of(spec, spec.blocks.at(block).shared->attention.qkv[0].matrix).block;
  };
  CHECK(owner(6) == 6);
  CHECK(owner(12) == 12);
  CHECK(owner(18) == 6);
  CHECK(owner(24) == 12);
  CHECK(owner(51) == 6);
  CHECK(!spec.blocks.at(6).shared->attention.qkv[0].adapter);
  CHECK(matrix_of(spec, spec.blocks.at(24).shared->mlp.in[0].adapter->down).name ==
        "model.layers.12.shared_transformer.feed_forward.gate_up_proj_adapter_list.3.0");
  // Both spellings of kinds, and of the first configs' keys.
  const ModelSpec newer = build_published("zamba2-7b"), older = build_published("zamba2-7b-first");
  REQUIRE(newer.units.size() == older.units.size());
  CHECK(mixer<Mamba2Spec>(newer, 0).norm_groups == 2);
  CHECK(mixer<Mamba2Spec>(older, 0).heads == 112);
}

TEST_CASE("zamba2: what the spec cannot say is refused", "[architectures]") {
  for (const char* key : {"use_conv_bias", "use_shared_mlp_adapter"})
    CHECK_THAT(
        refusal([&] { build_patched("zamba2-1.2b", std::string("{\"") + key + "\":false}"); }),
        Catch::Contains(key));
  const auto said = [](const char* patch) {
    return refusal([&] { build_patched("zamba2-1.2b", patch); });
  };
  CHECK_THAT(said(R"({"use_long_context":true})"), Catch::Contains("use_long_context"));
  CHECK_THAT(said(R"({"layers_block_type":null})"), Catch::Contains("layers_block_type"));
  CHECK_THAT(said(R"({"layers_block_type":["mamba"]})"), Catch::Contains("lists 1 layers of 38"));
  CHECK_THAT(said(R"({"attention_hidden_size":2048})"), Catch::Contains("attention_hidden_size"));
  CHECK_THAT(said(R"({"ft_lora":true})"), Catch::Contains("ft_lora"));
  CHECK_THAT(said(R"({"num_key_value_heads":5})"), Catch::Contains("num_key_value_heads"));
  const ModelSpec biased = build_patched("zamba2-1.2b", R"({"add_bias_linear":true})");
  CHECK(find_small(biased, "model.layers.0.mamba.in_proj.bias"));
  CHECK(find_small(biased, "model.layers.5.shared_transformer.feed_forward.gate_up_proj.bias"));
  CHECK(!find_small(biased, "model.layers.5.shared_transformer.self_attn.q_proj.bias"));
}

TEST_CASE("zamba: heads are slices of one tensor, one transformer for all", "[architectures]") {
  const ModelSpec spec = build_published("zamba-7b");
  CHECK(blocks_of(spec) == "mmsm" + repeat("mmmmsmm", 12).substr(0, 12 * 7) + "m");
  CHECK(spec.blocks.at(2).shared);
  CHECK(spec.blocks.at(7).shared);   // 3 + 4
  CHECK(spec.blocks.at(13).shared);  // and every sixth
  CHECK(!spec.blocks.at(8).shared);
  const Mamba1Spec& first = mixer<Mamba1Spec>(spec, 0);
  CHECK(first.interleaved);
  REQUIRE(first.scan.x_proj.size() == 2);
  const MatrixSpec& x = matrix_of(spec, first.scan.x_proj[1]);
  CHECK(x.name == "model.layers.0.mamba.x_proj_weight.1");
  CHECK(x.tensor == "model.layers.0.mamba.x_proj_weight");
  CHECK(x.kind == "x_proj");
  CHECK(x.tensor_shape == Shape{2, 232 + 32, 3712});
  CHECK(x.first_row == 264);
  CHECK(matrix_of(spec, first.scan.dt_proj[1]).tensor_shape == Shape{2, 3712, 232});
  CHECK(shape_of(spec, "model.layers.0.mamba.A_log") == Shape{2, 3712, 16});
  CHECK(shape_of(spec, "model.layers.2.mamba_decoder.mamba.dt_proj_bias") == Shape{2, 3712});
  CHECK(spec.ropes.empty());
  const SharedTransformerSpec& shared = *spec.blocks.at(13).shared;
  CHECK(matrix_of(spec, shared.attention.qkv[0].matrix).name ==
        "model.layers.2.shared_transf.self_attn.q_proj");
  CHECK(matrix_of(spec, shared.linear.matrix).name == "model.layers.13.linear");
  CHECK(shared.attention.core.scale == Approx(1 / std::sqrt(232.0)));
  CHECK_THAT(refusal([] { build_patched("zamba-7b", R"({"n_mamba_heads":3})"); }),
             Catch::Contains("n_mamba_heads"));
  const ModelSpec listed = build_patched(
      "zamba-7b", R"({"num_hidden_layers":2,"layers_block_type":["hybrid","linear_attention"]})");
  CHECK(blocks_of(listed) == "smm");
}

}  // namespace klens::testing
