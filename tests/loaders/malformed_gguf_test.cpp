// Every malformed GGUF gives one clear line; none crashes.
#include <catch2/catch.hpp>
#include <functional>

#include "base/error.h"
#include "loaders/gguf/read_gguf.h"
#include "tests/loaders/gguf_builder.h"

namespace klens {
namespace {

using namespace klens::testing;
using enum ErrorKind;

struct GgufRow {
  const char* name;
  std::function<void(GgufBuilder&)> damage;
  ErrorKind kind;
  std::vector<const char*> words;
};

using File = GgufBuilder&;

std::string nested_list() {
  return GgufBuilder::list_head(9, 1) + raw<uint32_t>(4) + raw<uint64_t>(1) + raw<uint32_t>(7);
}

const std::vector<GgufRow> kContainer = {
    {"version 1", [](File f) { f.version = 1; }, kUnsupported, {"version 1", "2 and 3", "convert"}},
    {"version 4", [](File f) { f.version = 4; }, kUnsupported, {"version 4"}},
    {"big-endian", [](File f) { f.version = 0x03000000; }, kUnsupported, {"big-endian", "convert"}},
    {"a key twice",
     [](File f) { f.keys.push_back(f.keys[0]); },
     kBadFile,
     {"general.architecture", "twice", "again"}},
    {"a key without a name", [](File f) { f.set("", f.keys[0].second); }, kBadFile, {"0 bytes"}},
    {"an unknown type of key",
     [](File f) { f.set("k", raw<uint32_t>(13) + raw<uint64_t>(0)); },
     kBadFile,
     {"key k", "type 13"}},
    {"a list of lists",
     [](File f) { f.set("k", nested_list()); },
     kUnsupported,
     {"key k", "list of lists"}},
    {"a list longer than the file",
     [](File f) { f.set("k", GgufBuilder::list_head(4, uint64_t{1} << 40)); },
     kBadFile,
     {"key k", "ends within"}},
    {"a list whose size overflows",
     [](File f) { f.set("k", GgufBuilder::list_head(4, UINT64_MAX / 2)); },
     kBadFile,
     {"key k"}},
    {"a list of too many texts",
     [](File f) { f.set("k", GgufBuilder::list_head(8, uint64_t{1} << 60)); },
     kBadFile,
     {"key k"}},
    {"a text longer than the file",
     [](File f) { f.set("k", raw<uint32_t>(8) + raw<uint64_t>(UINT64_MAX)); },
     kBadFile,
     {"key k"}},
    {"alignment 0", [](File f) { f.u32("general.alignment", 0); }, kBadFile, {"general.alignment"}},
    {"alignment 48",
     [](File f) { f.u32("general.alignment", 48); },
     kBadFile,
     {"general.alignment", "48", "power of two"}},
    {"a tensor twice",
     [](File f) { f.tensors.push_back(f.tensors[0]); },
     kBadFile,
     {"token_embd.weight", "twice"}},
    {"a tensor without dimensions",
     [](File f) { f.tensors[0].dims = {}; },
     kBadFile,
     {"token_embd.weight", "0 dimensions"}},
    {"a tensor of five dimensions",
     [](File f) { f.tensors[0].dims.assign(5, 1); },
     kBadFile,
     {"token_embd.weight", "5 dimensions"}},
    {"a dimension of 0",
     [](File f) {
       f.tensors[0].dims = {0, 4};
     },
     kBadFile,
     {"dimension of 0"}},
    {"a dimension beyond all",
     [](File f) { f.tensors[0].dims = {uint64_t{1} << 41}; },
     kBadFile,
     {"token_embd.weight"}},
    {"a shape that overflows",
     [](File f) { f.tensors[0].dims.assign(4, uint64_t{1} << 40); },
     kBadFile,
     {"token_embd.weight", "overflows"}},
    {"a tensor beyond the file",
     [](File f) {
       f.tensors[0].dims = {8, 4096};
     },
     kBadFile,
     {"token_embd.weight", "the file has"}},
    {"an offset beyond the file",
     [](File f) { f.tensors[0].extra_offset = 1 << 20; },
     kBadFile,
     {"token_embd.weight", "the file has"}},
    {"an offset that overflows",
     [](File f) { f.tensors[1].extra_offset = UINT64_MAX - 127; },
     kBadFile,
     {"output_norm.weight"}},
    {"a misaligned tensor",
     [](File f) { f.tensors[1].extra_offset = 4; },
     kBadFile,
     {"output_norm.weight", "alignment 32"}},
    {"tensors that overlap",
     [](File f) { f.tensors[0].extra_offset = 32; },
     kBadFile,
     {"overlaps", "token_embd.weight"}},
    {"a type klens does not read",
     [](File f) { f.tensors[0].type = 29; },
     kUnsupported,
     {"token_embd.weight", "IQ1_M", "Q4_K"}},
    {"a type there is not",
     [](File f) { f.tensors[0].type = 99; },
     kUnsupported,
     {"token_embd.weight", "type 99"}},
    {"rows that are no whole blocks",
     [](File f) { f.tensors[0].type = 8; },
     kBadFile,
     {"token_embd.weight", "Q8_0 blocks of 32"}},
};

const std::vector<GgufRow> kModel = {
    {"no architecture",
     [](File f) { f.drop("general.architecture"); },
     kBadFile,
     {"general.architecture", "convert"}},
    {"an unknown architecture",
     [](File f) { f.text("general.architecture", "rwkv\n7"); },
     kUnsupported,
     {"rwkv?7", "llama", "nemotron_h"}},
    {"no model",
     [](File f) { f.text("general.type", "adapter"); },
     kUnsupported,
     {"general.type", "adapter"}},
    {"a part of a model",
     [](File f) { f.set("split.count", raw<uint32_t>(2) + raw<uint16_t>(3)); },
     kUnsupported,
     {"one of 3 parts", "llama-gguf-split"}},
    {"a key is missing",
     [](File f) { f.drop("llama.embedding_length"); },
     kBadFile,
     {"llama.embedding_length", "convert"}},
    {"a key of another type",
     [](File f) { f.text("llama.block_count", "1"); },
     kBadFile,
     {"llama.block_count", "whole number"}},
    {"too many blocks",
     [](File f) { f.u32("llama.block_count", 1u << 30); },
     kBadFile,
     {"llama.block_count", "4096"}},
    {"no heads",
     [](File f) { f.u32("llama.attention.head_count", 0); },
     kBadFile,
     {"llama.attention.head_count"}},
    {"an epsilon that is not finite",
     [](File f) { f.f32("llama.attention.layer_norm_rms_epsilon", INFINITY); },
     kBadFile,
     {"layer_norm_rms_epsilon", "finite"}},
    {"a key that changes the arithmetic",
     [](File f) { f.f32("llama.logit_scale", 2); },
     kUnsupported,
     {"llama.logit_scale", "checkpoint"}},
    {"experts",
     [](File f) { f.u32("llama.expert_count", 8); },
     kUnsupported,
     {"llama.expert_count", "8"}},
    {"values of another width",
     [](File f) { f.u32("llama.attention.value_length", 8); },
     kUnsupported,
     {"llama.attention.value_length"}},
    {"an unknown rotation",
     [](File f) { f.text("llama.rope.scaling.type", "longrope"); },
     kUnsupported,
     {"rope.scaling.type", "longrope"}},
    {"settings of YaRN that transformers lacks",
     [](File f) {
       f.text("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 4);
       f.f32("llama.rope.scaling.yarn_log_multiplier", 0.1f);
     },
     kUnsupported,
     {"yarn_log_multiplier"}},
    {"factors of another width",
     [](File f) { f.f32_tensor("rope_freqs.weight", {3}); },
     kUnsupported,
     {"rope_freqs.weight", "[3]", "[2]"}},
    {"a factor of 0",
     [](File f) { f.f32_tensor("rope_freqs.weight", {2}, 0); },
     kBadFile,
     {"rope_freqs.weight", "above 0"}},
    {"an unknown tensor",
     [](File f) { f.f32_tensor("blk.0.attn_q_norm_b.weight", {4}); },
     kUnsupported,
     {"blk.0.attn_q_norm_b.weight", "llama"}},
    {"a tensor of a block too many",
     [](File f) { f.f32_tensor("blk.1.attn_norm.weight", {8}); },
     kUnsupported,
     {"blk.1.attn_norm.weight"}},
    {"no embedding",
     [](File f) { f.tensors.erase(f.tensors.begin()); },
     kBadFile,
     {"token_embd.weight"}},
    {"rows that heads do not make up",
     [](File f) {
       GgufBuilder::Tensor& q = f.tensor("blk.0.attn_q.weight");
       q.dims = {8, 6};
       q.data.resize(4 * 8 * 6);
     },
     kBadFile,
     {"blk.0.attn_q.weight", "2 heads"}},
    {"a quantised bias",
     [](File f) {
       f.tensors.push_back({"blk.0.attn_q.bias", 8, {32}, std::string(34, 'a')});
     },
     kBadFile,
     {"blk.0.attn_q.bias", "Q8_0"}},
    {"scales that are infinite",
     [](File f) {
       f.tensors.push_back(
           {"output.weight", 8, {32, 1}, raw<uint16_t>(0x7c00) + std::string(32, 'a')});
     },
     kBadFile,
     {"output.weight", "NaN or infinity"}},
};

const std::vector<GgufRow> kTokenizerRows = {
    {"an unknown kind",
     [](File f) { f.text("tokenizer.ggml.model", "t5"); },
     kUnsupported,
     {"tokenizer.ggml.model", "t5", "gpt2"}},
    {"an unknown way to split",
     [](File f) { f.text("tokenizer.ggml.pre", "poro-chat"); },
     kUnsupported,
     {"tokenizer.ggml.pre", "poro-chat", "llama-bpe"}},
    {"no way to split",
     [](File f) { f.drop("tokenizer.ggml.pre"); },
     kUnsupported,
     {"tokenizer.ggml.pre", "convert"}},
    {"no tokens",
     [](File f) { f.drop("tokenizer.ggml.tokens"); },
     kBadFile,
     {"tokenizer.ggml.tokens"}},
    {"a token that is no text",
     [](File f) {
       f.texts("tokenizer.ggml.tokens", {"\xff", "b", "ab", "c"});
     },
     kBadFile,
     {"tokenizer.ggml.tokens", "entry 0", "UTF-8"}},
    {"too few types",
     [](File f) { f.numbers<int32_t>("tokenizer.ggml.token_type", 5, {1}); },
     kBadFile,
     {"tokenizer.ggml.token_type", "1 entries for 4"}},
    {"a merge of one token",
     [](File f) { f.texts("tokenizer.ggml.merges", {"ab"}); },
     kBadFile,
     {"tokenizer.ggml.merges", "entry 0"}},
    {"an end that is no token",
     [](File f) { f.u32("tokenizer.ggml.eos_token_id", 4); },
     kBadFile,
     {"tokenizer.ggml.eos_token_id", "4 tokens"}},
    {"no scores",
     [](File f) { f.text("tokenizer.ggml.model", "llama"); },
     kBadFile,
     {"tokenizer.ggml.scores", "0 entries"}},
    {"a charsmap",
     [](File f) { f.numbers<uint8_t>("tokenizer.ggml.precompiled_charsmap", 0, {1}); },
     kUnsupported,
     {"precompiled_charsmap"}},
    {"a template that is no text",
     [](File f) { f.text("tokenizer.chat_template", "\xff"); },
     kBadFile,
     {"tokenizer.chat_template"}},
};

void check_rows(const std::vector<GgufRow>& rows) {
  for (const GgufRow& row : rows) {
    CAPTURE(row.name);
    GgufBuilder file = small_gguf_llama();
    add_gguf_tokenizer(file);
    row.damage(file);
    const std::string bytes = file.bytes();
    try {
      const GgufModel model =
          read_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf"));
      // Told when the tokenizer is needed.
      if (!model.texts.tokenizer_problem.empty())
        throw Error(kUnsupported, model.texts.tokenizer_problem);
      FAIL_CHECK("was not refused");
    } catch (const Error& error) {
      const std::string message = error.what();
      CAPTURE(message);
      CHECK(error.kind() == row.kind);
      CHECK(message.starts_with("test.gguf: "));
      CHECK(message.find('\n') == std::string::npos);
      for (const char* word : row.words) {
        CAPTURE(word);
        CHECK(message.find(word) != std::string::npos);
      }
    }
  }
}

}  // namespace

TEST_CASE("malformed GGUF containers are refused by name", "[gguf][malformed]") {
  check_rows(kContainer);
}
TEST_CASE("GGUF models that klens cannot run are refused by name", "[gguf][malformed]") {
  check_rows(kModel);
}
TEST_CASE("GGUF tokenizers that klens cannot follow are refused by name", "[gguf][malformed]") {
  check_rows(kTokenizerRows);
}

TEST_CASE("every truncation and every flipped bit of a GGUF opens or is refused",
          "[gguf][truncation]") {
  GgufBuilder file = small_gguf_llama();
  add_gguf_tokenizer(file);
  const std::string sound = file.bytes();
  const auto read = [](const std::string& bytes) {
    try {
      read_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf"));
      return true;
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
      return false;
    }
  };
  REQUIRE(read(sound));
  for (size_t length = 0; length < sound.size(); ++length) {
    CAPTURE(length);
    CHECK_FALSE(read(sound.substr(0, length)));
  }
  const size_t header = sound.size() - 4 * 8 * 70;
  for (size_t bit = 0; bit < 8 * header; bit += bit < 200 ? 1 : 5) {
    std::string bytes = sound;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    read(bytes);
  }
}

}  // namespace klens
