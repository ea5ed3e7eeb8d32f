// Specs of Llama, Mistral and Qwen.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "loaders/checkpoint.h"
#include "loaders/context_length.h"
#include "tests/loaders/architectures.h"

namespace klens::testing {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

}  // namespace

TEST_CASE("llama: attention and MLP in turn", "[architectures]") {
  const ModelSpec spec = build_published("llama-3.2-1b");
  CHECK(blocks_of(spec).substr(0, 4) == "*-*-");
  const AttentionSpec& attention = mixer<AttentionSpec>(spec, 0);
  CHECK(attention.core.heads == 32);
  CHECK(attention.core.scale == 0.125f);
  CHECK(!attention.core.q_norm);
  CHECK(spec.caches.at(0).kv_heads == 8);
  CHECK(spec.caches.at(0).reach == kAll);
  CHECK(spec.caches.at(15).first_block == 30);
  // The fastest channels turn as ever, the slowest 32 times more slowly.
  REQUIRE(spec.ropes.size() == 1);
  CHECK(spec.ropes[0].inv_freq.front() == 1);
  CHECK(spec.ropes[0].inv_freq.back() == Approx(std::pow(500000.0, -62.0 / 64) / 32));
  CHECK(mixer<MlpSpec>(spec, 1).gated);
  CHECK(matrix(spec, "model.layers.0.mlp.down_proj").cols == 8192);
  CHECK(find_small(build_patched("llama-3.2-1b", R"({"mlp_bias":true,"attention_bias":true})"),
                   "model.layers.0.self_attn.o_proj.bias"));
}

TEST_CASE("mistral and qwen: windows, biases, norms", "[architectures]") {
  const ModelSpec windowed = build_published("mistral-7b-v0.1", {"lm_head.weight"});
  CHECK(windowed.caches.at(0).reach == 4095);  // the query's own key is one of 4096
  CHECK(build_published("mistral-7b-v0.3", {"lm_head.weight"}).caches.at(0).reach == kAll);

  const ModelSpec qwen2 = build_published("qwen2.5-0.5b");
  CHECK(find_small(qwen2, "model.layers.0.self_attn.q_proj.bias"));
  CHECK(!find_small(qwen2, "model.layers.0.self_attn.o_proj.bias"));
  CHECK(qwen2.caches.at(23).reach == kAll);
  const ModelSpec late =
      build_patched("qwen2.5-0.5b", R"({"use_sliding_window":true,"max_window_layers":20})");
  CHECK(late.caches.at(19).reach == kAll);
  CHECK(late.caches.at(20).reach == 32767);

  const ModelSpec qwen3 = build_published("qwen3-0.6b");
  REQUIRE(mixer<AttentionSpec>(qwen3, 0).core.q_norm);
  CHECK(shape_of(qwen3, "model.layers.0.self_attn.k_norm.weight") == std::vector<int64_t>{128});
  CHECK(matrix(qwen3, "model.layers.0.self_attn.q_proj").rows == 16 * 128);
  CHECK(!find_small(qwen3, "model.layers.0.self_attn.q_proj.bias"));
}

TEST_CASE("how much text attention was trained on is known", "[architectures]") {
  const auto length = [](const std::string& name, const char* patch, const ModelSpec& spec) {
    Checkpoint checkpoint;
    nlohmann::json config = nlohmann::json::parse(published_config(name));
    config.merge_patch(nlohmann::json::parse(patch));
    checkpoint.texts.config = config.dump();
    checkpoint.spec = spec;
    return context_length(checkpoint);
  };
  const ModelSpec attends = build_published("llama-3.2-1b"), scans = build_published("mamba-130m");
  CHECK(length("llama-3.2-1b", "{}", attends) == 131072);
  CHECK(length("jamba-v0.1", "{}", build_published("jamba-v0.1", {"lm_head.weight"})) == 262144);
  const auto of_qwen = [&](const char* patch) { return length("qwen2.5-0.5b", patch, attends); };
  CHECK(of_qwen("{}") == 32768);
  CHECK(of_qwen(R"({"rope_scaling":{"type":"linear","factor":4.0}})") == 4 * 32768);
  CHECK(of_qwen(R"({"rope_scaling":{"rope_type":"dynamic","factor":4.0}})") == 32768);
  for (const char* none : {"null", "-1", "0", "\"many\"", "1e300", "[]"})
    CHECK(of_qwen((std::string(R"({"max_position_embeddings":)") + none + "}").c_str()) ==
          std::nullopt);
  Checkpoint infinite;  // a config that Python wrote
  infinite.texts.config = R"({"time_step_limit":[0.0, Infinity],"max_position_embeddings":8192})";
  infinite.spec = attends;
  CHECK(context_length(infinite) == 8192);
  CHECK(length("mamba-130m", R"({"max_position_embeddings":2048})", scans) == std::nullopt);
}

TEST_CASE("llama: what is refused", "[architectures]") {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"num_key_value_heads":5})", "num_key_value_heads"},
      {R"({"head_dim":63})", "odd"},
      {R"({"head_dim":null,"num_attention_heads":24})", "num_attention_heads"},
      {R"({"hidden_act":"gelu_new"})", "gelu_new"},
      {R"({"rope_scaling":{"rope_type":"longrope"}})", "longrope"},
      {R"({"rope_scaling":{"high_freq_factor":0.5}})", "high_freq_factor"},
      {R"({"rope_theta":0})", "rope_theta"},
      {R"({"rms_norm_eps":2})", "rms_norm_eps"},
  };
  for (const auto& [patch, word] : rows) {
    CAPTURE(patch);
    const char* const json = patch;  // lambdas cannot capture the binding in Clang 14
    CHECK_THAT(refusal([&] { build_patched("llama-3.2-1b", json); }), Catch::Contains(word));
  }
}

TEST_CASE("rotation in the newer spelling means the same", "[architectures]") {
  const auto rope_of = [](const char* patch) { return build_patched("llama-3.2-1b", patch).ropes; };
  const std::vector<RopeSpec> older = rope_of("{}");
  const std::vector<RopeSpec> newer = rope_of(R"({"rope_scaling":null,"rope_theta":null,
      "rope_parameters":{"rope_theta":500000.0,"rope_type":"llama3","factor":32.0,
      "low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}})");
  CHECK(older.at(0).inv_freq == newer.at(0).inv_freq);
  const std::vector<RopeSpec> linear = rope_of(R"({"rope_scaling":{"type":"linear","factor":4.0,
      "rope_type":null,"low_freq_factor":null,"high_freq_factor":null}})");
  CHECK(linear.at(0).inv_freq.at(0) == 0.25f);
  const std::vector<RopeSpec> dynamic = rope_of(R"({"rope_scaling":{"rope_type":"dynamic",
      "low_freq_factor":null,"high_freq_factor":null}})");
  REQUIRE(dynamic.at(0).dynamic);
  CHECK(dynamic.at(0).dynamic->factor == 32);
}

}  // namespace klens::testing
