#pragma once
// GGUF files put together by hand, sound or not.
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loaders/gguf/gguf_file.h"

namespace klens::testing {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
inline std::string gguf_text(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

inline GgufFile parse_gguf(const std::string& bytes) {
  return GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf");
}

class GgufBuilder {
 public:
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> dims;  // as the format has them, the row's length first
    std::string data;
    uint64_t offset = 0, extra_offset = 0;
  };

  uint32_t version = 3;
  std::vector<std::pair<std::string, std::string>> keys;  // name; type and value
  std::vector<Tensor> tensors;

  // A key set twice has the later value.
  GgufBuilder& set(const std::string& key, const std::string& value) {
    for (auto& entry : keys)
      if (entry.first == key) {
        entry.second = value;
        return *this;
      }
    keys.emplace_back(key, value);
    return *this;
  }
  GgufBuilder& drop(const std::string& key) {
    std::erase_if(keys, [&](const auto& entry) { return entry.first == key; });
    return *this;
  }
  GgufBuilder& u32(const std::string& key, uint32_t value) {
    return set(key, raw<uint32_t>(4) + raw(value));
  }
  GgufBuilder& f32(const std::string& key, float value) {
    return set(key, raw<uint32_t>(6) + raw(value));
  }
  GgufBuilder& boolean(const std::string& key, bool value) {
    return set(key, raw<uint32_t>(7) + raw<uint8_t>(value));
  }
  GgufBuilder& text(const std::string& key, std::string_view value) {
    return set(key, raw<uint32_t>(8) + gguf_text(value));
  }
  template <class T>
  GgufBuilder& numbers(const std::string& key, uint32_t type, const std::vector<T>& values) {
    std::string bytes = list_head(type, values.size());
    for (const T value : values) bytes += raw(value);
    return set(key, bytes);
  }
  GgufBuilder& texts(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = list_head(8, values.size());
    for (const std::string& value : values) bytes += gguf_text(value);
    return set(key, bytes);
  }
  static std::string list_head(uint32_t type, uint64_t count) {
    return raw<uint32_t>(9) + raw(type) + raw(count);
  }

  GgufBuilder& f32_tensor(const std::string& name, std::vector<uint64_t> dims, float value = 0.5f) {
    uint64_t count = 1;
    for (const uint64_t extent : dims) count *= extent;
    std::string data;
    for (uint64_t i = 0; i < count; ++i) data += raw(value);
    tensors.push_back({name, 0, std::move(dims), std::move(data)});
    return *this;
  }
  Tensor& tensor(const std::string& name) {
    for (Tensor& entry : tensors)
      if (entry.name == name) return entry;
    std::abort();
  }

  std::string bytes() const {
    std::string file =
        "GGUF" + raw(version) + raw<uint64_t>(tensors.size()) + raw<uint64_t>(keys.size());
    for (const auto& [key, value] : keys) file += gguf_text(key) + value;
    std::string data;
    for (const Tensor& entry : tensors) {
      file += gguf_text(entry.name) + raw<uint32_t>(static_cast<uint32_t>(entry.dims.size()));
      for (const uint64_t extent : entry.dims) file += raw(extent);
      file += raw(entry.type) + raw<uint64_t>(data.size() + entry.extra_offset);
      data += entry.data;
      data.resize((data.size() + 31) / 32 * 32);
    }
    file.resize((file.size() + 31) / 32 * 32);
    return file + data;
  }
};

// A Llama of one block: 8 channels, 2 heads, 4 tokens. Every matrix is F32.
inline GgufBuilder small_gguf_llama() {
  GgufBuilder file;
  file.text("general.architecture", "llama").text("general.name", "small");
  file.u32("llama.block_count", 1).u32("llama.context_length", 64);
  file.u32("llama.embedding_length", 8).u32("llama.feed_forward_length", 16);
  file.u32("llama.attention.head_count", 2).u32("llama.attention.head_count_kv", 1);
  file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.f32_tensor("token_embd.weight", {8, 4}).f32_tensor("output_norm.weight", {8});
  file.f32_tensor("blk.0.attn_norm.weight", {8}).f32_tensor("blk.0.ffn_norm.weight", {8});
  file.f32_tensor("blk.0.attn_q.weight", {8, 8}).f32_tensor("blk.0.attn_k.weight", {8, 4});
  file.f32_tensor("blk.0.attn_v.weight", {8, 4}).f32_tensor("blk.0.attn_output.weight", {8, 8});
  file.f32_tensor("blk.0.ffn_gate.weight", {8, 16}).f32_tensor("blk.0.ffn_up.weight", {8, 16});
  file.f32_tensor("blk.0.ffn_down.weight", {16, 8});
  return file;
}

// The same with 32 hidden channels and ffn_down in Q4_1: 8 rows of one block of 20 bytes.
inline GgufBuilder small_quantised_gguf_llama() {
  GgufBuilder file = small_gguf_llama();
  file.u32("llama.feed_forward_length", 32);
  std::erase_if(file.tensors,
                [](const auto& tensor) { return tensor.name.find("ffn_") != std::string::npos; });
  file.f32_tensor("blk.0.ffn_norm.weight", {8});
  file.f32_tensor("blk.0.ffn_gate.weight", {8, 32}).f32_tensor("blk.0.ffn_up.weight", {8, 32});
  std::string blocks;
  for (int row = 0; row < 8; ++row)
    blocks += raw<uint16_t>(0x3c00) + raw<uint16_t>(0) + std::string(16, '\x21');
  file.tensors.push_back({"blk.0.ffn_down.weight", 3, {32, 8}, blocks});
  return file;
}

// The tokenizer of it: byte-level, tokens a, b, ab and <end>.
inline GgufBuilder& add_gguf_tokenizer(GgufBuilder& file) {
  file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
  file.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<end>"});
  file.numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 3});
  file.texts("tokenizer.ggml.merges", {"a b"});
  file.u32("tokenizer.ggml.bos_token_id", 3).u32("tokenizer.ggml.eos_token_id", 3);
  return file;
}

}  // namespace klens::testing
