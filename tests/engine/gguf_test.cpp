// GGUF models of every architecture that llama.cpp's converter knows, against the logits of the
// transformers package with the same weights.
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/session.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

int32_t best(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

TEST_CASE("a GGUF gives the logits of the checkpoint it was made from", "[golden][gguf]") {
  const std::string name =
      GENERATE("bamba", "falcon_h1", "falcon_mamba", "granite", "granite_moe", "jamba", "llama",
               "llama_bias", "mamba", "mamba2", "nemotron_h", "nemotron_h_moe", "qwen2", "qwen3");
  CAPTURE(name);
  const SafetensorsFile reference =
      SafetensorsFile::open(data_path("gguf/" + name + ".reference.safetensors"));
  const auto model =
      std::make_shared<const Model>(open_checkpoint(data_path("gguf/" + name + ".gguf"), true),
                                    ModelOptions{.threads = 2, .kv = cpu::KvType::kF32});
  const auto input = tensor_values<int32_t>(reference, "input_ids");
  const auto wanted = tensor_values<float>(reference, "logits");
  const auto greedy = tensor_values<int32_t>(reference, "greedy_ids");

  Session session(model, 512);
  std::vector<float> logits(wanted.size());
  session.eval(input, logits.data());
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    worst = std::max(worst,
                     std::fabs(double{logits[i]} - wanted[i]) / (1 + std::fabs(double{wanted[i]})));
  CHECK(worst <= 2e-4);

  Session decoding(model, 512);
  std::vector<int32_t> ids(greedy.begin(), greedy.begin() + 8);
  decoding.eval(ids, nullptr);
  while (ids.size() < greedy.size()) {
    ids.push_back(best(decoding.logits()));
    decoding.eval({&ids.back(), 1}, nullptr);
  }
  CHECK(ids == greedy);
}

}  // namespace klens
