// Hymba's spec, and what its rule refuses.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/loaders/architectures.h"

namespace klens::testing {
namespace {

using Shape = std::vector<int64_t>;

std::string hymba_said(const std::string& patch) {
  return refusal([&] { build_patched("hymba-1.5b", patch); });
}

}  // namespace

TEST_CASE("hymba: producers, consumers, windows and learned tokens", "[architectures]") {
  const ModelSpec spec = build_published("hymba-1.5b");
  CHECK(blocks_of(spec).substr(0, 4) == "H-H-");
  CHECK(spec.prefix_rows() == 128);
  CHECK(shape_of(spec, "model.memory_tokens") == Shape{128, 1600});
  const HymbaSpec& global = mixer<HymbaSpec>(spec, 0);
  const HymbaSpec& producer = mixer<HymbaSpec>(spec, 2);
  const HymbaSpec& consumer = mixer<HymbaSpec>(spec, 4);
  CHECK(matrix(spec, "model.layers.1.mamba.in_proj").rows == 8960);
  CHECK(matrix(spec, "model.layers.2.mamba.in_proj").rows == 8000);
  CHECK(producer.attention.makes_kv);
  CHECK(!consumer.attention.makes_kv);
  CHECK(consumer.attention.cache == producer.attention.cache);
  const KvCacheSpec& cache = spec.caches.at(producer.attention.cache);
  CHECK(cache.kv_heads == 5);
  CHECK(cache.k_dim == 64);
  CHECK(cache.v_dim == 128);
  CHECK(cache.reach == 1024);
  CHECK(cache.pinned == 128);
  CHECK(cache.first_block == 2);
  CHECK(cache.last_block == 4);
  CHECK(spec.caches.at(global.attention.cache).reach == std::numeric_limits<int64_t>::max());
  CHECK(spec.caches.at(mixer<HymbaSpec>(spec, 32).attention.cache).last_block == 36);  // 16, 17, 18
  CHECK(global.attention.scale == 0.125f);
  CHECK(global.scan.dt_rank == 100);
  CHECK(matrix(spec, "model.layers.0.mamba.x_proj.0").kind == "x_proj");
  CHECK(matrix(spec, "model.layers.0.mamba.dt_proj.0").kind == "dt_proj");
  CHECK(shape_of(spec, "model.layers.0.mamba.A_log.0") == Shape{3200, 16});
  CHECK(shape_of(spec, "model.layers.0.mamba.pre_avg_layernorm2.weight") == Shape{3200});
  REQUIRE(spec.ropes.size() == 1);
  CHECK(spec.ropes[0].inv_freq.size() == 32);
  CHECK(spec.ropes[0].inv_freq[1] == Approx(std::pow(74534.8303, -2.0 / 64)));
}

TEST_CASE("hymba: variants that configs may ask for", "[architectures]") {
  CHECK(build_patched("hymba-1.5b", R"({"rope":false})").ropes.empty());
  CHECK(build_patched("hymba-1.5b", R"({"rope_type":null})").ropes[0].inv_freq[1] ==
        Approx(std::pow(10000.0, -2.0 / 64)));
  CHECK(blocks_of(build_patched("hymba-1.5b", R"({"intermediate_size":0})")) ==
        std::string(32, 'H'));
  const ModelSpec plain = build_patched("hymba-1.5b", R"({"mlp_hidden_act":"relu2"})");
  CHECK(!mixer<MlpSpec>(plain, 1).gated);
  CHECK(mixer<MlpSpec>(plain, 1).activation == Activation::kRelu2);
  CHECK(!has_matrix(plain, "model.layers.0.moe.experts.0.gate_proj"));
  CHECK(!build_patched("hymba-1.5b", R"({"num_memory_tokens":0})").prefix);
  const ModelSpec wide = build_patched("hymba-1.5b", R"({"sliding_window":null})");
  CHECK(wide.caches.at(1).reach == std::numeric_limits<int64_t>::max());
  const ModelSpec bare = build_patched("hymba-1.5b", R"({"mamba_inner_layernorms":false,
      "mamba_proj_bias":true,"mamba_conv_bias":false})");
  CHECK(!mixer<HymbaSpec>(bare, 0).scan.dt_norm);
  CHECK(find_small(bare, "model.layers.0.mamba.in_proj.bias"));
  CHECK(!find_small(bare, "model.layers.0.mamba.conv1d.bias"));
}

TEST_CASE("hymba: norms of queries and keys", "[architectures]") {
  const ModelSpec shared = build_patched("hymba-1.5b", R"({"kq_norm":"rms"})");
  REQUIRE(mixer<HymbaSpec>(shared, 4).attention.k_norm);  // a consumer
  CHECK(mixer<HymbaSpec>(shared, 4).attention.q_norm->eps == 1e-6f);
  CHECK(shape_of(shared, "model.layers.2.mamba.self_attn.k_norm.weight") == Shape{64});
  const ModelSpec by_head = build_patched("hymba-1.5b", R"({"kq_norm":"perhead-rms"})");
  CHECK(shape_of(by_head, "model.layers.0.mamba.self_attn.q_norm.weight") == Shape{1, 25, 1, 64});
  CHECK(shape_of(by_head, "model.layers.0.mamba.self_attn.k_norm.weight") == Shape{1, 5, 1, 64});
  CHECK(!mixer<HymbaSpec>(build_published("hymba-1.5b"), 0).attention.q_norm);
}

TEST_CASE("hymba: groups that share keys and values", "[architectures]") {
  const ModelSpec each = build_patched("hymba-1.5b", R"({"kv_reuse_group":null})");
  CHECK(each.caches.size() == 32);
  const std::string every_second = R"({"kv_reuse_group":null,"kv_reuse_every_i_layer":2,
      "sliding_window":null})";
  const ModelSpec pairs = build_patched("hymba-1.5b", every_second);
  CHECK(pairs.caches.size() == 16);
  CHECK(pairs.caches.at(1).first_block == 4);
  CHECK(pairs.caches.at(1).last_block == 6);
  const ModelSpec crossed = build_patched("hymba-1.5b", R"({"kv_reuse_group":[[1,3,5],[2,4]]})");
  CHECK(crossed.caches.at(1).last_block == 10);
  CHECK(crossed.caches.at(2).last_block == 8);
  CHECK_THAT(hymba_said(R"({"kv_reuse_group":[[2,1]]})"),
             Catch::Contains("kv_reuse_group has layer 1"));
  CHECK_THAT(hymba_said(R"({"kv_reuse_group":[[1,2],[2,3]]})"), Catch::Contains("layer 2"));
  CHECK_THAT(hymba_said(R"({"kv_reuse_group":[[1,32]]})"), Catch::Contains("kv_reuse_group"));
  CHECK_THAT(hymba_said(R"({"kv_reuse_group":[[0,1]]})"),
             Catch::Contains("mixes global and windowed"));
}

TEST_CASE("hymba: what is refused", "[architectures]") {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"num_key_value_heads":4})", "num_key_value_heads"},
      {R"({"num_attention_heads":24,"num_key_value_heads":6})", "num_attention_heads"},
      {R"({"kq_norm":"layer"})", "kq_norm"},
      {R"({"kq_norm":null})", "lacks kq_norm"},
      {R"({"mlp_hidden_act":null})", "lacks mlp_hidden_act"},
      {R"({"mlp_hidden_act":"gelu"})", "mlp_hidden_act"},
      {R"({"hidden_act":"gelu"})", "hidden_act"},
      {R"({"rope_type":"dynamic_ntk"})", "dynamic_ntk"},
      {R"({"orig_max_position_embeddings":65536})", "orig_max_position_embeddings"},
      {R"({"memory_tokens_interspersed_every":64})", "memory_tokens_interspersed_every"},
      {R"({"kq_head_dim":32})", "kq_head_dim"},
      {R"({"attn_hidden_size":800})", "attn_hidden_size"},
      {R"({"global_attn_idx":[32]})", "global_attn_idx"},
      {R"({"kv_weight_reuse":true})", "kv_weight_reuse"},
  };
  for (const auto& [patch, word] : rows) {
    CAPTURE(patch);
    CHECK_THAT(hymba_said(patch), Catch::Contains(word));
  }
  CHECK(hymba_said(R"({"kq_head_dim":64,"attn_hidden_size":1600})") == "");
}

}  // namespace klens::testing
