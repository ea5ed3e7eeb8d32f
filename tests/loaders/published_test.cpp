// Configs as published give the architectures that were published. The numbers of parameters are
// the reference's for the same configs.
#include <catch2/catch.hpp>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/loaders/architectures.h"
#include "tests/testing.h"

namespace klens::testing {
namespace {

struct Published {
  const char* name;
  int64_t parameters;
  size_t blocks, caches;
  bool tied;
};

const Published kPublished[] = {
    {"bamba-9b", 9780235392, 64, 3, false},
    {"falcon-h1-0.5b", 521411104, 72, 36, false},
    {"falcon-mamba-7b", 7272665088, 64, 0, false},
    {"granite-3.1-2b", 2533531648, 80, 40, true},
    {"granite-4.0-h-micro", 3191396096, 80, 4, true},
    {"granite-4.0-h-tiny", 6939037248, 80, 4, true},
    {"hymba-1.5b", 1522797824, 64, 17, true},
    {"jamba-tiny-dev", 178743232, 16, 1, false},
    {"jamba-v0.1", 51570323328, 64, 4, false},
    {"lfm2-1.2b", 1170340608, 32, 6, true},
    {"lfm2-8b-a1b", 8339930560, 48, 6, true},
    {"llama-2-7b", 6738415616, 64, 32, false},
    {"llama-3.1-8b", 8030261248, 64, 32, false},
    {"llama-3.2-1b", 1235814400, 32, 16, true},
    {"mamba-130m", 129135360, 24, 0, true},
    {"mamba-codestral-7b", 7285403648, 64, 0, false},
    {"mamba2-130m", 128989632, 24, 0, true},
    {"mistral-7b-v0.1", 7241732096, 64, 32, false},
    {"mistral-7b-v0.3", 7248023552, 64, 32, false},
    {"nemotron-3-nano-30b", 31577940288, 52, 6, false},
    {"nemotron-h-8b", 8100852736, 52, 4, false},
    {"nemotron-nano-9b-v2", 8888227328, 56, 4, false},
    {"olmo-hybrid-7b", 7430870688, 64, 8, false},
    {"qwen2.5-0.5b", 494032768, 48, 24, true},
    {"qwen3-0.6b", 596049920, 56, 28, true},
    {"qwen3-next-80b-a3b", 79674391296, 96, 12, false},
    {"qwen3.5-0.8b", 752393024, 48, 6, true},
    {"zamba-7b", 7232490496, 76, 13, true},
    {"zamba2-1.2b", 1215064704, 38, 6, true},
    {"zamba2-2.7b", 2662214560, 54, 9, true},
    {"zamba2-7b", 7356749648, 81, 13, true},
    {"zamba2-7b-first", 7356749648, 81, 13, true},
};

}  // namespace

TEST_CASE("published configs give what was published", "[architectures]") {
  std::set<std::string> tested;
  for (const Published& row : kPublished) {
    CAPTURE(row.name);
    const ModelSpec spec = build_published(row.name, {"lm_head.weight"});
    CHECK(spec.parameters() == row.parameters);
    CHECK(spec.blocks.size() == row.blocks);
    CHECK(spec.caches.size() == row.caches);
    CHECK(spec.tied() == row.tied);
    tested.insert(std::string(row.name) + ".json");
  }
  for (const auto& file : std::filesystem::directory_iterator(data_path("configs")))
    CHECK(tested.count(file.path().filename()) == 1);
}

TEST_CASE("a setting that no rule knows is refused by name, where it looks like arithmetic",
          "[architectures]") {
  const char* const odd[] = {R"({"final_logit_softcapping":30.0})",
                             R"({"attn_temperature_tuning":true})",
                             R"({"residual_dropout_scale":0.5})",
                             R"({"swiglu_limit":7.0})",
                             R"({"attention_chunk_size":8192})",
                             R"({"sparse_attention_config":{"a":1}})",
                             R"({"mamba_frobnicate":1})"};
  for (const Published& row : kPublished)
    for (const char* patch : odd) {
      CAPTURE(row.name, patch);
      const std::string key = nlohmann::json::parse(patch).begin().key();
      CHECK_THAT(
          refusal([&] { build_patched(row.name, patch); }),
          Catch::StartsWith("config.json: key " + key + " is not one that klens knows for "));
    }
  // Switched off, or of another look, it does no harm.
  CHECK(refusal([] {
          build_patched("llama-3.2-1b", R"({"attn_logit_softcapping":null,"use_mla_mlp_":false,
              "author":"me","task_specific_params":{"x":1},"sliding_window":[]})");
        }) == "");
}

TEST_CASE("settings that change nothing do not refuse a model", "[architectures][long]") {
  // How it was trained, which kernels another program takes, what there is none of.
  const char* const idle[] = {
      R"({"_flash_attn_2_enabled":true})",
      R"({"_attn_implementation":"sdpa"})",
      R"({"_attn_implementation_autoset":true})",
      R"({"_experts_implementation":"eager"})",
      R"({"attn_implementation":"eager"})",
      R"({"use_flash_attention":true})",
      R"({"attn_pdrop":0.0,"resid_pdrop":0.0,"embd_pdrop":0.1})",
      R"({"attention_dropout":0.1,"attn_dropout":0.0,"residual_dropout":0.0,"mlp_dropout":0.0})",
      R"({"hidden_dropout_prob":0.0,"moe_dropout":0.0,"lora_dropout":0.0})",
      R"({"lora_alpha_":0,"num_adapter_layers":0,"final_logit_softcapping":0.0})",
      R"({"router_aux_loss_coef":0.01,"rescale_prenorm_residual":true,"initializer_factor":1.0})"};
  for (const Published& row : kPublished)
    for (const char* patch : idle) {
      CAPTURE(row.name, patch);
      CHECK(refusal([&] { build_patched(row.name, patch); }) == "");
    }
  for (const char* patch : {R"({"sliding_window":4096,"use_sliding_window":true})",
                            R"({"max_window_layers":28,"layer_norm_eps":1e-5})",
                            R"({"position_embedding_type":"rope"})", R"({"num_experts":0})"}) {
    CAPTURE(patch);
    const ModelSpec llama = build_patched("llama-3.2-1b", patch);
    CHECK(llama.caches.at(0).reach == std::numeric_limits<int64_t>::max());
  }
  CHECK(refusal([] {
          build_patched("nemotron-h-8b", R"({"mamba_proj_bias":true,
      "rope_parameters":{"rope_type":"default","rope_theta":10000}})");
        }) == "");
}

TEST_CASE("settings that change the arithmetic are heeded or refused", "[architectures]") {
  const auto said = [](const char* model, const char* patch) {
    return refusal([&] { build_patched(model, patch); });
  };
  for (const Published& row : kPublished) {
    CAPTURE(row.name);
    CHECK_THAT(said(row.name, R"({"quantization_config":{"quant_method":"fp8","bits":8}})"),
               Catch::Contains("quantised (fp8)") && Catch::Contains("F32, F16 or BF16"));
    CHECK_THAT(said(row.name, R"({"is_causal":false})"), Catch::Contains("is_causal"));
  }
  CHECK_THAT(said("llama-3.2-1b", R"({"position_embedding_type":"alibi"})"),
             Catch::Contains("position_embedding_type"));
  CHECK_THAT(said("hymba-1.5b", R"({"num_mamba":2})"), Catch::Contains("num_mamba"));
  CHECK_THAT(said("hymba-1.5b", R"({"layer_type":["h","a"]})"), Catch::Contains("layer_type"));
  CHECK_THAT(said("zamba2-7b-first", R"({"gated_linear_unit":false})"),
             Catch::Contains("gated_linear_unit"));
  CHECK_THAT(said("jamba-v0.1", R"({"sliding_window":4096})"), Catch::Contains("sliding_window"));
  CHECK_THAT(said("mamba-130m", R"({"ssm_cfg":{"dt_limit":[0.1,1]}})"),
             Catch::Contains("dt_limit"));
  CHECK(said("mamba-130m", R"({"ssm_cfg":{"dt_init":"random","dt_scale":1.0,"dt_min":0.001}})") ==
        "");
  // Mistral's default, where the key is not there at all.
  nlohmann::json mistral = nlohmann::json::parse(published_config("mistral-7b-v0.3"));
  CHECK(build(mistral.dump(), {"lm_head.weight"}).caches.at(0).reach > 1000000);
  mistral.erase("sliding_window");
  CHECK(build(mistral.dump(), {"lm_head.weight"}).caches.at(0).reach == 4095);
}

TEST_CASE("time steps are bounded by time_step_limit alone", "[architectures]") {
  constexpr const char* kLimit =
      R"({"time_step_limit":[0.25,2],"time_step_min":0.01,"time_step_max":0.02})";
  const auto first = [](const ModelSpec& spec) {
    if (const auto* both = std::get_if<ParallelSpec>(&spec.blocks.at(0).mixer)) return both->mamba;
    return std::get<Mamba2Spec>(spec.blocks.at(0).mixer);
  };
  for (const char* name :
       {"bamba-9b", "falcon-h1-0.5b", "granite-4.0-h-micro", "granite-4.0-h-tiny",
        "mamba-codestral-7b", "nemotron-3-nano-30b", "nemotron-h-8b", "nemotron-nano-9b-v2",
        "zamba2-1.2b", "zamba2-2.7b", "zamba2-7b"}) {
    CAPTURE(name);
    const Mamba2Spec limited = first(build_patched(name, kLimit));
    CHECK(limited.dt_min == 0.25f);
    CHECK(limited.dt_max == 2);
    for (const char* none : {R"({"time_step_limit":null,"time_step_min":0.01})",
                             R"({"time_step_limit":[0.0,{"__float__":"Infinity"}]})"}) {
      const Mamba2Spec free = first(build_patched(name, none));
      CHECK(free.dt_min == 0);
      CHECK(free.dt_max == std::numeric_limits<float>::infinity());
    }
  }
  CHECK(
      first(build_patched("nemotron-h-8b", R"({"time_step_limit":null,"mamba_dt_limit":[0.5,1]})"))
          .dt_min == 0.5f);
  for (const char* name :
       {"mamba-130m", "falcon-mamba-7b", "zamba-7b", "jamba-v0.1", "hymba-1.5b"}) {
    CAPTURE(name);
    CHECK_THAT(refusal([&] { build_patched(name, kLimit); }), Catch::Contains("time_step_limit"));
    CHECK(refusal([&] {
            build_patched(name, R"({"time_step_limit":[0.0,{"__float__":"Infinity"}]})");
          }) == "");
  }
}

TEST_CASE("mamba_ssm_cache_dtype float32 keeps Mamba-2's states in FP32", "[architectures]") {
  const auto first = [](const char* name, const char* patch) {
    return std::get<Mamba2Spec>(build_patched(name, patch).blocks.at(0).mixer).f32_state;
  };
  CHECK(first("nemotron-3-nano-30b", "{}"));
  CHECK_FALSE(first("nemotron-h-8b", "{}"));
  CHECK(first("bamba-9b", R"({"mamba_ssm_cache_dtype":"float32"})"));
  CHECK_FALSE(first("bamba-9b", R"({"mamba_ssm_cache_dtype":"bfloat16"})"));
  CHECK_THAT(refusal([] { build_patched("bamba-9b", R"({"mamba_ssm_cache_dtype":"int8"})"); }),
             Catch::Contains("mamba_ssm_cache_dtype"));
  CHECK(refusal([] { build_patched("mamba-130m", R"({"mamba_ssm_cache_dtype":"float32"})"); }) ==
        "");
}

TEST_CASE("every architecture refuses sizes out of range", "[architectures]") {
  for (const Published& row : kPublished) {
    CAPTURE(row.name);
    const bool original = published_config(row.name).find("\"d_model\"") != std::string::npos;
    for (const std::string key : {original ? "d_model" : "hidden_size",
                                  original ? "n_layer" : "num_hidden_layers", "vocab_size"}) {
      for (const char* value : {"-1", "1.5", "\"8\"", "4611686018427387904"}) {
        CAPTURE(key, value);
        const std::string patch = "{\"" + key + "\":" + value + "}";
        CHECK_THAT(refusal([&] { build_patched(row.name, patch); }), Catch::Contains(key));
      }
    }
  }
}

}  // namespace klens::testing
