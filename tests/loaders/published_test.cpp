// Configs as published give the architectures that were published. The numbers of parameters are
// the reference's for the same configs.
#include <catch2/catch.hpp>
#include <filesystem>
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
    {"granite-4.0-h-micro", 3191396096, 80, 4, true},
    {"granite-4.0-h-tiny", 6939037248, 80, 4, true},
    {"hymba-1.5b", 1522797824, 64, 17, true},
    {"jamba-tiny-dev", 178743232, 16, 1, false},
    {"jamba-v0.1", 51570323328, 64, 4, false},
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
    {"qwen2.5-0.5b", 494032768, 48, 24, true},
    {"qwen3-0.6b", 596049920, 56, 28, true},
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
                             R"({"quantization_config":{"bits":4}})", R"({"mamba_frobnicate":1})"};
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
