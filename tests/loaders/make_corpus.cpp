// Writes the seeds of tests/fuzz/corpus that are binary: run klens_loader_tests "[make-corpus]"
// when a format has changed, and commit what it writes.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens::testing {
namespace {

// A Llama whose matrices are in the blocks of 32, with a SentencePiece tokenizer.
GgufBuilder quantised_gguf() {
  GgufBuilder file = small_gguf_llama();
  file.u32("llama.embedding_length", 32).u32("llama.feed_forward_length", 32);
  const std::pair<uint32_t, size_t> types[] = {{2, 18}, {3, 20}, {6, 22}, {7, 24}, {8, 34}};
  size_t next = 0;
  for (GgufBuilder::Tensor& tensor : file.tensors) {
    tensor.dims.assign(tensor.dims.size(), 32);
    if (tensor.dims.size() == 1) {
      tensor.data.assign(4 * 32, '\x3c');
      continue;
    }
    const auto& [type, bytes] = types[next++ % 5];
    tensor.type = type;
    tensor.data.assign(32 * bytes, '\x2c');
  }
  file.tensor("blk.0.attn_k.weight").dims = file.tensor("blk.0.attn_v.weight").dims = {32, 16};
  for (const char* name : {"blk.0.attn_k.weight", "blk.0.attn_v.weight"})
    file.tensor(name).data.resize(file.tensor(name).data.size() / 2);
  file.text("tokenizer.ggml.model", "llama");
  file.texts("tokenizer.ggml.tokens", {"<unk>", "<0x41>", "a", "b", "ab", "\xe2\x96\x81"});
  file.numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 6, 1, 1, 1, 1});
  file.numbers<float>("tokenizer.ggml.scores", 6, {0, 0, -2, -3, -1, -4});
  return file.u32("tokenizer.ggml.unknown_token_id", 0);
}

// The same with the other types, each once; most have blocks of 256.
GgufBuilder k_quantised_gguf() {
  GgufBuilder file = small_gguf_llama();
  file.u32("llama.embedding_length", 256).u32("llama.feed_forward_length", 32);
  file.u32("llama.attention.key_length", 16).u32("llama.attention.value_length", 16);
  file.u32("llama.rope.dimension_count", 16);
  struct Matrix {
    const char* name;
    uint64_t cols, rows;
    uint32_t type;
    size_t row_bytes;
  };
  const Matrix matrices[] = {
      {"token_embd", 256, 4, 23, 136},        {"blk.0.attn_q", 256, 32, 10, 84},
      {"blk.0.attn_k", 256, 16, 11, 110},     {"blk.0.attn_v", 256, 16, 14, 210},
      {"blk.0.attn_output", 32, 256, 39, 17}, {"blk.0.ffn_gate", 256, 32, 12, 144},
      {"blk.0.ffn_up", 256, 32, 13, 176},     {"blk.0.ffn_down", 32, 256, 20, 18}};
  file.tensors.clear();
  for (const char* norm : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"})
    file.f32_tensor(std::string(norm) + ".weight", {256});
  for (const Matrix& m : matrices)
    file.tensors.push_back({m.name + std::string(".weight"),
                            m.type,
                            {m.cols, m.rows},
                            std::string(m.rows * m.row_bytes, m.type == 39 ? '\x6c' : '\x2c')});
  return file;
}

// Takes a Llama's keys over to another architecture of two blocks, the second with attention.
GgufBuilder hybrid_gguf(const std::string& name) {
  GgufBuilder file = small_gguf_llama();
  for (auto& [key, value] : file.keys)
    if (key.starts_with("llama.")) key = name + key.substr(5);
  file.text("general.architecture", name).u32(name + ".block_count", 2);
  file.numbers<int32_t>(name + ".attention.head_count_kv", 5, {0, 1});
  for (const auto& [key, value] :
       {std::pair("conv_kernel", 2), {"inner_size", 16}, {"state_size", 2}})
    file.u32(name + ".ssm." + key, static_cast<uint32_t>(value));
  for (GgufBuilder::Tensor& tensor : file.tensors)
    if (tensor.name.starts_with("blk.0.")) tensor.name[4] = '1';
  return file.f32_tensor("blk.0.attn_norm.weight", {8}).f32_tensor("blk.0.ffn_norm.weight", {8});
}

GgufBuilder small_gguf_jamba() {
  GgufBuilder file = hybrid_gguf("jamba");
  file.u32("jamba.ssm.time_step_rank", 1)
      .u32("jamba.expert_count", 2)
      .u32("jamba.expert_used_count", 1);
  file.f32_tensor("blk.0.ssm_in.weight", {8, 32}).f32_tensor("blk.0.ssm_out.weight", {16, 8});
  file.f32_tensor("blk.0.ssm_conv1d.weight", {2, 16}).f32_tensor("blk.0.ssm_conv1d.bias", {16});
  file.f32_tensor("blk.0.ssm_x.weight", {16, 5}).f32_tensor("blk.0.ssm_dt.weight", {1, 16});
  file.f32_tensor("blk.0.ssm_dt.bias", {16}).f32_tensor("blk.0.ssm_dt_norm.weight", {1});
  file.f32_tensor("blk.0.ssm_b_norm.weight", {2}).f32_tensor("blk.0.ssm_c_norm.weight", {2});
  file.f32_tensor("blk.0.ssm_a", {2, 16}, -1).f32_tensor("blk.0.ssm_d", {16});
  for (const char* part : {"gate", "up"})
    file.f32_tensor("blk.0.ffn_" + std::string(part) + "_exps.weight", {8, 16, 2});
  file.f32_tensor("blk.0.ffn_down_exps.weight", {16, 8, 2});
  return file.f32_tensor("blk.0.ffn_gate_inp.weight", {8, 2});
}

GgufBuilder small_gguf_granite() {
  GgufBuilder file = hybrid_gguf("granitehybrid");
  file.u32("granitehybrid.ssm.time_step_rank", 2).u32("granitehybrid.ssm.group_count", 1);
  file.boolean("granitehybrid.rope.scaling.finetuned", false);
  file.f32_tensor("blk.0.ssm_in.weight", {8, 38}).f32_tensor("blk.0.ssm_out.weight", {16, 8});
  file.f32_tensor("blk.0.ssm_conv1d.weight", {2, 20}).f32_tensor("blk.0.ssm_conv1d.bias", {20});
  file.f32_tensor("blk.0.ssm_dt.bias", {2}).f32_tensor("blk.0.ssm_a", {1, 2}, -1);
  file.f32_tensor("blk.0.ssm_d", {1, 2}).f32_tensor("blk.0.ssm_norm.weight", {16, 1});
  for (const char* part : {"gate", "up"})
    file.f32_tensor("blk.0.ffn_" + std::string(part) + ".weight", {8, 16});
  return file.f32_tensor("blk.0.ffn_down.weight", {16, 8});
}

}  // namespace

TEST_CASE("seeds for the fuzzers", "[.][make-corpus]") {
  const std::string corpus = std::string(KLENS_TEST_DATA) + "/../fuzz/corpus/";
  const TemporaryFolder folder;
  std::filesystem::create_directories(corpus + "klens_file");
  std::filesystem::create_directories(corpus + "safetensors");
  write_tiny_checkpoint(folder / "tied", {});
  write_tiny_checkpoint(folder / "untied",
                        {.d_model = 9, .vocab = 5, .tied = false, .dtype = DType::kF16});
  quantise(folder / "tied", corpus + "klens_file/int4g64", "int4g64");
  quantise(folder / "tied", corpus + "klens_file/int8", "int8");
  quantise(folder / "untied", corpus + "klens_file/fp16", "fp16");

  const TensorEntry entries[] = {{"f32", DType::kF32, {2, 2}, 16},
                                 {"bf16", DType::kBf16, {3}, 6},
                                 {"f16", DType::kF16, {1, 1, 1}, 2},
                                 {"u8", DType::kU8, {0, 4}, 0}};
  const std::string header = safetensors_header(entries, {{"format", "pt"}});
  write_bytes(corpus + "safetensors/dtypes", header + std::string(24, '\x3c'));
  write_bytes(corpus + "safetensors/none", safetensors_header({}, {}));

  std::filesystem::create_directories(corpus + "gguf");
  GgufBuilder gguf = small_gguf_llama();
  write_bytes(corpus + "gguf/llama", add_gguf_tokenizer(gguf).bytes());
  write_bytes(corpus + "gguf/quantised", quantised_gguf().bytes());
  write_bytes(corpus + "gguf/k_quantised", k_quantised_gguf().bytes());
  write_bytes(corpus + "gguf/jamba", small_gguf_jamba().bytes());
  write_bytes(corpus + "gguf/granite", small_gguf_granite().bytes());
}

}  // namespace klens::testing
