// GGUF files against what the gguf and transformers packages make of them.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "loaders/checksum.h"
#include "loaders/gguf/convert_tensors.h"
#include "loaders/gguf/dequantize.h"
#include "loaders/gguf/mapping.h"
#include "loaders/gguf/read_gguf.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;
using nlohmann::json;

std::vector<float> values_of(const GgufTensor& tensor) {
  const size_t count = static_cast<size_t>(tensor.rows() * tensor.cols());
  std::vector<float> values(count);
  const size_t row = tensor.bytes.size() / static_cast<size_t>(tensor.rows());
  for (int64_t i = 0; i < tensor.rows(); ++i)
    dequantize_row(tensor.type, tensor.bytes.data() + static_cast<size_t>(i) * row, tensor.cols(),
                   values.data() + i * tensor.cols());
  return values;
}

template <class T>
std::vector<T> elements(const GgufModel& model, const std::string& name) {
  const TensorView& view = model.tensors.tensors.at(name).view;
  std::vector<T> values(view.bytes.size() / sizeof(T));
  std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
  return values;
}

// What the engine is given: the spec of the told config, every tensor read.
Checkpoint checkpoint_of(const std::string& path) {
  GgufModel model = read_gguf(path);
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.spec = std::move(model.spec);
  fill_checkpoint(checkpoint, std::move(model.tensors));
  return checkpoint;
}

}  // namespace

TEST_CASE("every quantised type gives the values of the gguf package", "[gguf]") {
  const GgufFile file = GgufFile::open(data_path("gguf/types.gguf"));
  int types = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const GgufTensor* expected = file.find_tensor(name + ".values");
    if (!expected) continue;
    CAPTURE(name);
    ++types;
    CHECK(tensor.shape == expected->shape);
    const std::vector<float> values = values_of(tensor), wanted = values_of(*expected);
    CHECK(std::memcmp(values.data(), wanted.data(), values.size() * sizeof(float)) == 0);
  }
  CHECK(types == 13);
}

TEST_CASE("quantised models give the values of the gguf package", "[gguf][shared]") {
  const json sums = json::parse(read_bytes(data_path("gguf/checksums.json")));
  for (const auto& [name, tensors] : sums.items()) {
    const std::string path = shared_path("goldens/gguf/" + name);
    if (path.empty()) continue;
    const GgufFile file = GgufFile::open(path);
    for (const auto& [tensor, sum] : tensors.items()) {
      CAPTURE(name, tensor);
      const std::vector<float> values = values_of(*file.find_tensor(tensor));
      std::vector<uint16_t> halves(values.size());
      CHECK(row_to_f16(values.data(), static_cast<int64_t>(values.size()), halves.data()));
      CHECK(xxh3_hex(std::as_bytes(std::span(halves))) == sum.get<std::string>());
    }
  }
}

TEST_CASE("a GGUF is told as a checkpoint that its architecture reads", "[gguf]") {
  const std::map<std::string, std::string> architectures = {
      {"bamba", "BambaForCausalLM"},
      {"falcon_h1", "FalconH1ForCausalLM"},
      {"falcon_mamba", "FalconMambaForCausalLM"},
      {"granite", "GraniteMoeHybridForCausalLM"},
      {"granite_dense", "GraniteForCausalLM"},
      {"granite_moe", "GraniteMoeHybridForCausalLM"},
      {"jamba", "JambaForCausalLM"},
      {"lfm2", "Lfm2ForCausalLM"},
      {"lfm2_moe", "Lfm2MoeForCausalLM"},
      {"llama", "LlamaForCausalLM"},
      {"llama_bias", "LlamaForCausalLM"},
      {"mamba", "MambaForCausalLM"},
      {"mamba2", "Mamba2ForCausalLM"},
      {"nemotron_h", "NemotronHForCausalLM"},
      {"nemotron_h_moe", "NemotronHForCausalLM"},
      {"qwen2", "Qwen2ForCausalLM"},
      {"qwen3", "Qwen3ForCausalLM"},
      {"qwen3_5", "Qwen3_5ForCausalLM"},
      {"qwen3_5_moe", "Qwen3_5MoeForCausalLM"},
      {"qwen3_5_mtp", "Qwen3_5ForCausalLM"},
      {"qwen3_next", "Qwen3NextForCausalLM"},
  };
  const std::set<std::string> tied = {"falcon_mamba", "granite", "granite_dense",
                                      "granite_moe",  "lfm2",    "lfm2_moe",
                                      "llama_bias",   "mamba",   "qwen3_5"};
  for (const auto& [name, architecture] : architectures) {
    CAPTURE(name);
    const Checkpoint checkpoint = checkpoint_of(data_path("gguf/" + name + ".gguf"));
    CHECK(checkpoint.spec.architecture == architecture);
    CHECK(checkpoint.spec.vocab == 64);
    CHECK(checkpoint.spec.d_model == 32);
    CHECK(checkpoint.spec.tied() == tied.contains(name));
  }
}

TEST_CASE("a GGUF holds the tensors of the checkpoint it was made from", "[gguf][shared]") {
  for (const char* name : {"wiki-llama", "wiki-mamba", "wiki-mamba2"}) {
    const std::string path = shared_path("goldens/gguf/" + std::string(name) + ".f16.gguf");
    const std::string original = shared_path("models/" + std::string(name));
    if (path.empty() || original.empty()) continue;
    const Checkpoint a = checkpoint_of(path), b = open_checkpoint(original, false);
    REQUIRE(a.units.size() == b.units.size());
    for (const auto& [unit, stored] : a.units) {
      CAPTURE(name, unit);
      const StoredUnit& other = b.units.at(unit);
      REQUIRE(stored.bytes == other.bytes);
      CHECK(std::memcmp(stored.view.data, other.view.data, stored.bytes) == 0);
    }
    const auto others_by_name = small_values(b);
    for (const auto& [tensor, values] : small_values(a)) {
      CAPTURE(name, tensor);
      // The converter took the exponential of A_log in FP16.
      const float bound = tensor.ends_with("A_log") ? 1e-3f : 0.0f;
      const std::vector<float>& others = others_by_name.at(tensor);
      REQUIRE(values.size() == others.size());
      float worst = 0;
      for (size_t i = 0; i < values.size(); ++i)
        worst = std::max(worst, std::abs(values[i] - others[i]));
      CHECK(worst <= bound);
    }
  }
}

TEST_CASE("a GGUF's config says what the checkpoint's does", "[gguf][shared]") {
  // Kept otherwise, or not at all.
  const std::set<std::string> apart = {"torch_dtype", "dtype",        "max_position_embeddings",
                                       "rope_theta",  "rope_scaling", "rms_norm"};
  for (const char* name : {"wiki-llama", "wiki-mamba", "wiki-mamba2"}) {
    const std::string path = shared_path("goldens/gguf/" + std::string(name) + ".f16.gguf");
    const std::string original = shared_path("models/" + std::string(name));
    if (path.empty() || original.empty()) continue;
    const json told = json::parse(read_gguf(path).texts.config);
    const json known = json::parse(read_bytes(original + "/config.json"));
    int compared = 0;
    for (const auto& [key, value] : told.items()) {
      if (apart.contains(key)) continue;
      CAPTURE(name, key);
      CHECK(known.value(key, json()) == value);
      ++compared;
    }
    CHECK(compared > 12);
  }
}

TEST_CASE("paired rows of queries and keys go back, weights and biases alike", "[gguf]") {
  GgufBuilder file = small_gguf_llama();
  // Rows of one head in the order that pairs channel i with i + half: 0 2 1 3.
  const auto rows = [](uint64_t count) {
    std::string data;
    for (uint64_t row = 0; row < count; ++row)
      for (int i = 0; i < 8; ++i) data += raw(static_cast<float>(row));
    return data;
  };
  file.tensor("blk.0.attn_q.weight").data = rows(8);
  file.tensor("blk.0.attn_k.weight").data = rows(4);
  for (const char* name : {"blk.0.attn_q.bias", "blk.0.attn_output.bias"})
    file.f32_tensor(name, {8});
  file.f32_tensor("blk.0.attn_k.bias", {4}).f32_tensor("blk.0.attn_v.bias", {4});
  file.tensor("blk.0.attn_k.bias").data = raw(0.f) + raw(1.f) + raw(2.f) + raw(3.f);
  const std::string bytes = file.bytes();
  const GgufFile parsed = parse_gguf(bytes);
  const GgufModel model = read_gguf(parsed);
  const std::string layer = "model.layers.0.self_attn.";
  const std::vector<float> q = elements<float>(model, layer + "q_proj.weight");
  const float expected[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (size_t row = 0; row < 8; ++row) CHECK(q[8 * row] == expected[row]);
  CHECK(elements<float>(model, layer + "k_proj.bias") == std::vector<float>{0, 2, 1, 3});
  CHECK(json::parse(model.texts.config)["attention_bias"] == true);
}

TEST_CASE("what Llama 3 does to the rotation comes along as factors", "[gguf]") {
  const json config = json::parse(read_gguf(data_path("gguf/llama.gguf")).texts.config);
  CHECK(config["rope_theta"] == 500000.0);
  CHECK(config["rope_scaling"]["rope_type"] == "factors");
  // Of 4 pairs of channels: the fastest keeps its pace, the slowest two are 8 times slower.
  const std::vector<double> factors = config["rope_scaling"]["factors"];
  REQUIRE(factors.size() == 4);
  CHECK(factors[0] == 1);
  CHECK((factors[1] > 1 && factors[1] < 8));
  CHECK((factors[2] == 8 && factors[3] == 8));
}

TEST_CASE("matrices that only change their name stay in the file's map", "[gguf]") {
  const GgufFile file = GgufFile::open(data_path("gguf/qwen2.gguf"));
  const GgufModel model = read_gguf(file);
  size_t vectors = 0;
  for (const auto& [name, tensor] : model.tensors.tensors) vectors += tensor.view.shape.size() == 1;
  CHECK(model.tensors.copies.size() == vectors);
  CHECK(model.tensors.files.size() == 1);
  CHECK(model.name == "qwen2");
  CHECK(model.tensors.tensors.at("model.embed_tokens.weight").view.bytes.data() ==
        file.find_tensor("token_embd.weight")->bytes.data());
}

TEST_CASE("matrices of different types are joined in FP32", "[gguf]") {
  const GgufFile whole = GgufFile::open(data_path("gguf/granite.gguf"));
  GgufTensor up = *whole.find_tensor("blk.0.ffn_up.weight");
  GgufTensor gate = up;
  gate.type = GgmlType::kBf16;  // the same bits, read otherwise
  TensorRecipe recipe{"joined", {2 * up.rows(), up.cols()}, {}, "gate"};
  recipe.parts = {{&gate, 0, gate.rows(), gate.cols()}, {&up, 0, up.rows(), up.cols()}};
  TensorSource source;
  convert_tensors("test", std::span(&recipe, 1), ModelSpec{}, source);
  const TensorView& view = source.tensors.at("joined").view;
  CHECK(view.dtype == DType::kF32);
  std::vector<float> wanted = values_of(gate);
  const std::vector<float> below = values_of(up);
  wanted.insert(wanted.end(), below.begin(), below.end());
  CHECK(std::memcmp(view.bytes.data(), wanted.data(), view.bytes.size()) == 0);
}

TEST_CASE("numbers of keys read as they were written", "[gguf]") {
  CHECK(shortest_number(0.22f) == 0.22);
  CHECK(shortest_number(1e-5f) == 1e-5);
  CHECK(shortest_number(10000.0f) == 10000.0);
  CHECK(shortest_number(1e11f) == 1e11);
  GgufBuilder file = small_gguf_llama();
  file.set("llama.embedding_length", raw<uint32_t>(10) + raw<uint64_t>(8));
  file.set("llama.block_count", raw<uint32_t>(2) + raw<uint16_t>(1));
  file.set("llama.rope.freq_base", raw<uint32_t>(12) + raw(500000.0));
  file.version = 2;
  const std::string bytes = file.bytes();
  const json config = json::parse(read_gguf(parse_gguf(bytes)).texts.config);
  CHECK(config["hidden_size"] == 8);
  CHECK(config["num_hidden_layers"] == 1);
  CHECK(config["rope_theta"] == 500000.0);
}

TEST_CASE("no GGUF bounds time steps", "[gguf]") {
  for (const char* name :
       {"mamba2", "falcon_h1", "granite", "bamba", "nemotron_h", "nemotron_h_moe"}) {
    CAPTURE(name);
    const ModelSpec spec = checkpoint_of(data_path(std::string("gguf/") + name + ".gguf")).spec;
    size_t seen = 0;
    for (const BlockSpec& block : spec.blocks) {
      const auto* both = std::get_if<ParallelSpec>(&block.mixer);
      const auto* mixer = both ? &both->mamba : std::get_if<Mamba2Spec>(&block.mixer);
      if (mixer == nullptr) continue;
      ++seen;
      CHECK(mixer->dt_min == 0);
      CHECK(std::isinf(mixer->dt_max));
    }
    CHECK(seen > 0);
  }
}

TEST_CASE("quantised values that FP16 does not reach become FP32", "[gguf]") {
  // Q8_0: a scale of 65504, then 32 numbers.
  std::string blocks;
  for (const int8_t number : {int8_t{1}, int8_t{100}}) {
    blocks += raw<uint16_t>(0x7bff);
    blocks += std::string(32, static_cast<char>(number));
  }
  const auto values = [&](size_t count, DType type) {
    const auto bytes = std::as_bytes(std::span(blocks)).first(count * 34);
    const GgufTensor tensor{GgmlType::kQ8_0, {static_cast<int64_t>(count), 32}, bytes};
    const TensorRecipe recipe{"t", tensor.shape, {{&tensor, 0, tensor.rows(), 32}}, "t"};
    TensorSource source;
    convert_tensors("file", std::span(&recipe, 1), ModelSpec{}, source);
    const TensorView view = source.tensors.at("t").view;
    CHECK(view.dtype == type);
    return to_f32(view);
  };
  CHECK(values(1, DType::kF16) == std::vector<float>(32, 65504.0f));
  const std::vector<float> both = values(2, DType::kF32);
  CHECK(both.front() == 65504.0f);
  CHECK(both.back() == 6550400.0f);
}

}  // namespace klens
