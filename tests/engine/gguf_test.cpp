// GGUF models of every architecture that llama.cpp's converter knows, against the logits of the
// transformers package with the same weights.
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/session.h"
#include "loaders/mapped_file.h"
#include "loaders/tokenizer/tokenizer.h"
#include "tests/engine/golden.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

std::vector<float> gguf_logits(std::shared_ptr<const Model> model, std::span<const int32_t> ids) {
  Session session(std::move(model), 512);
  std::vector<float> logits(ids.size() * static_cast<size_t>(session.model().spec().vocab));
  session.eval(ids, logits.data());
  return logits;
}

// DESIGN.md: in units of 1 + |logit|.
double distance(std::span<const float> got, std::span<const float> wanted) {
  REQUIRE(got.size() == wanted.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst =
        std::max(worst, std::fabs(double{got[i]} - wanted[i]) / (1 + std::fabs(double{wanted[i]})));
  return worst;
}

}  // namespace

TEST_CASE("a GGUF gives the logits of the checkpoint it was made from", "[golden][gguf]") {
  const std::string name = GENERATE(
      "bamba", "falcon_h1", "falcon_mamba", "granite", "granite_dense", "granite_moe", "jamba",
      "lfm2", "lfm2_moe", "llama", "llama_bias", "mamba", "mamba2", "nemotron_h", "nemotron_h_moe",
      "qwen2", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_5_mtp", "qwen3_next");
  CAPTURE(name);
  const SafetensorsFile reference =
      SafetensorsFile::open(data_path("gguf/" + name + ".reference.safetensors"));
  const auto model =
      std::make_shared<const Model>(open_checkpoint(data_path("gguf/" + name + ".gguf"), true),
                                    ModelOptions{.threads = 2, .activations = Activations::kF32});
  const auto input = tensor_values<int32_t>(reference, "input_ids");
  const auto wanted = tensor_values<float>(reference, "logits");
  const auto greedy = tensor_values<int32_t>(reference, "greedy_ids");

  CHECK(distance(gguf_logits(model, input), wanted) <= 2e-4);

  Session decoding(model, 512);
  std::vector<int32_t> ids(greedy.begin(), greedy.begin() + 8);
  decoding.eval(ids, nullptr);
  while (ids.size() < greedy.size()) {
    ids.push_back(best(decoding.logits()));
    decoding.eval({&ids.back(), 1}, nullptr);
  }
  CHECK(ids == greedy);
}

TEST_CASE("a converted model gives the logits of its checkpoint", "[gguf][shared]") {
  const std::string text_path = shared_path("data/wikitext2.test.raw.txt");
  if (text_path.empty()) return;
  const std::string text = read_text(text_path).substr(0, 1500);
  for (const char* name : {"wiki-llama", "wiki-mamba", "wiki-mamba2"}) {
    const std::string converted = shared_path("goldens/gguf/" + std::string(name) + ".f16.gguf"),
                      original = shared_path("models/" + std::string(name));
    if (converted.empty() || original.empty()) continue;
    CAPTURE(name);
    const auto gguf = open_model(converted, 2, Activations::kF32),
               checkpoint = open_model(original, 2, Activations::kF32);
    const auto tokenizer = [](const Model& model) {
      return Tokenizer::from_json(model.checkpoint().texts.tokenizer, "tokenizer");
    };
    const std::vector<int32_t> ids = tokenizer(*gguf).encode(text, true);
    REQUIRE(ids == tokenizer(*checkpoint).encode(text, true));
    CHECK(ids.size() > 300);
    const std::vector<float> got = gguf_logits(gguf, ids), wanted = gguf_logits(checkpoint, ids);
    // The converter took the exponential of A_log in FP16; with those values all bits are the same.
    CHECK(distance(got, wanted) <= 1e-3);
    Checkpoint rounded = open_checkpoint(original, false);
    for (auto& [tensor, stored] : rounded.small)
      if (tensor.ends_with("A_log")) stored = gguf->checkpoint().small.at(tensor);
    CHECK((got == gguf_logits(std::make_shared<const Model>(
                                  std::move(rounded),
                                  ModelOptions{.threads = 2, .activations = Activations::kF32}),
                              ids)));
    std::cout << name << ": a GGUF's logits differ by " << distance(got, wanted) << "\n";
  }
}

TEST_CASE("quantised GGUFs stay near the model they were made of", "[gguf][shared]") {
  const std::string original = shared_path("models/wiki-llama");
  if (original.empty()) return;
  const auto checkpoint = open_model(original);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 64; ++i) ids.push_back((i * 1009 + 7) % 4096);
  const std::vector<float> wanted = gguf_logits(checkpoint, ids);
  double last = 0;
  for (const char* type : {"f16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"}) {
    const std::string path = shared_path("goldens/gguf/wiki-llama." + std::string(type) + ".gguf");
    if (path.empty()) continue;
    CAPTURE(type);
    const std::vector<float> got = gguf_logits(open_model(path, 2, Activations::kF32), ids);
    double error = 0, power = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error += std::pow(double{got[i]} - wanted[i], 2);
      power += std::pow(double{wanted[i]}, 2);
    }
    const double relative = std::sqrt(error / power);
    std::cout << "wiki-llama " << type << ": relative error of the logits " << relative << "\n";
    CHECK(relative >= last);  // fewer bits, more error
    CHECK(relative < 0.05);
    last = relative;
  }
}

}  // namespace klens
