// The tokenizer of a GGUF gives the ids of the tokenizer.json it was made from.
#include "loaders/gguf/gguf_tokenizer.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "loaders/gguf/read_gguf.h"
#include "loaders/tokenizer/tokenizer.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
using nlohmann::json;

// What of tokenizer.json a GGUF has no place for, out of it. The unknown token is a special one, as
// in published files.
json plain(json tokenizer) {
  if (const json& unknown = tokenizer["model"]["unk_token"]; unknown.is_string())
    tokenizer["added_tokens"].push_back(
        {{"id", tokenizer["model"]["vocab"][unknown.get<std::string>()]},
         {"content", unknown},
         {"special", true}});
  for (json& token : tokenizer["added_tokens"]) {
    token["lstrip"] = token["rstrip"] = token["single_word"] = false;
    token["normalized"] = false;
  }
  json& pre = tokenizer["pre_tokenizer"];
  if (pre.is_object() && pre.contains("add_prefix_space")) pre["add_prefix_space"] = false;
  return tokenizer;
}

std::pair<std::string, std::string> pair_of(const json& merge) {
  if (merge.is_array()) return {merge[0], merge[1]};
  const std::string text = merge;
  return {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
}

// As converters write it: tokens and types in the order of ids, merges or scores.
GgufBuilder as_gguf(const json& tokenizer, const std::string& kind, const std::string& pre) {
  const json& model = tokenizer["model"];
  const json& added = tokenizer["added_tokens"];
  std::vector<std::string> tokens(model["vocab"].size() + added.size());
  std::vector<int32_t> types(tokens.size(), 1);
  for (const auto& [text, id] : model["vocab"].items()) tokens[id.get<size_t>()] = text;
  size_t count = model["vocab"].size();
  for (const json& token : added) {
    const size_t id = token["id"];
    count = std::max(count, id + 1);
    tokens[id] = token["content"];
    types[id] = token["special"] == true ? 3 : 4;
  }
  tokens.resize(count);
  types.resize(count);
  std::vector<float> scores(count, -1e6f);
  std::vector<std::string> merges;
  for (const json& merge : model["merges"]) {
    const auto [left, right] = pair_of(merge);
    const auto at = std::find(tokens.begin(), tokens.end(), left + right);
    float& score = scores[static_cast<size_t>(at - tokens.begin())];
    score = std::max(score, -static_cast<float>(merges.size()));
    merges.push_back(left + " " + right);
  }
  for (size_t id = 0; id < count; ++id) {
    if (kind == "llama" && tokens[id].starts_with("<0x")) types[id] = 6;
    if (tokens[id] == "<unk>") types[id] = 2;
  }
  GgufBuilder file;
  file.text("tokenizer.ggml.model", kind).texts("tokenizer.ggml.tokens", tokens);
  file.numbers("tokenizer.ggml.token_type", 5, types);
  if (!pre.empty()) file.text("tokenizer.ggml.pre", pre).texts("tokenizer.ggml.merges", merges);
  if (kind == "llama") file.numbers("tokenizer.ggml.scores", 6, scores);
  for (uint32_t id = 0; id < count; ++id) {
    if (tokens[id] == "<s>") file.u32("tokenizer.ggml.bos_token_id", id);
    if (tokens[id] == "</s>") file.u32("tokenizer.ggml.eos_token_id", id);
    if (tokens[id] == "<unk>") file.u32("tokenizer.ggml.unknown_token_id", id);
  }
  return file;
}

struct Told {
  ModelTexts texts;
  nlohmann::ordered_json config;
  Tokenizer tokenizer() const { return Tokenizer::from_json(texts.tokenizer, "test.gguf"); }
};

Told tell(const GgufBuilder& builder) {
  const std::string bytes = builder.bytes();
  Told told;
  gguf_tokenizer(GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf"), told.texts,
                 told.config);
  return told;
}

}  // namespace

TEST_CASE("a tokenizer read from GGUF gives the ids of the original", "[gguf][tokenizer]") {
  const struct {
    const char *name, *kind, *pre;
    bool bos, eos;
  } rows[] = {
      {"gpt2", "gpt2", "gpt-2", false, false},
      {"neox", "gpt2", "olmo", true, true},
      {"falcon", "gpt2", "falcon", false, false},
      {"llama3", "gpt2", "llama-bpe", true, false},
      {"llama3", "gpt2", "lfm2", true, false},
      {"starcoder", "gpt2", "refact", false, false},
      {"llama2", "llama", "", true, false},
      {"gpt4o", "gpt2", "gpt-4o", false, false},
      {"qwen35", "gpt2", "qwen35", false, false},
      {"command_r", "gpt2", "command-r", false, false},
      {"deepseek_llm", "gpt2", "deepseek-llm", false, false},
      {"deepseek_coder", "gpt2", "deepseek-coder", false, false},
      {"deepseek_v3", "gpt2", "deepseek-v3", false, false},
      {"gguf_default", "gpt2", "default", false, false},
  };
  for (const auto& row : rows) {
    const std::string base = data_path("tokenizers/" + std::string(row.name));
    const json original = plain(json::parse(read_bytes(base + ".json")));
    GgufBuilder file = as_gguf(original, row.kind, row.pre);
    file.boolean("tokenizer.ggml.add_bos_token", row.bos);
    file.boolean("tokenizer.ggml.add_eos_token", row.eos);
    const Tokenizer ours = tell(file).tokenizer();
    const Tokenizer theirs = Tokenizer::from_json(original.dump(), base);
    for (const json& vector : json::parse(read_bytes(base + ".vectors.json"))) {
      const std::string text = vector[0];
      CAPTURE(row.name, text);
      const std::vector<int32_t> ids = ours.encode(text, true);
      CHECK(ids == theirs.encode(text, true));
      CHECK(ours.encode(text, false) == theirs.encode(text, false));
      CHECK(ours.decode(ids, true) == theirs.decode(ids, true));
    }
  }
}

TEST_CASE("the tokenizers of converted models give the ids of the originals",
          "[gguf][tokenizer][shared]") {
  for (const char* name : {"wiki-llama", "wiki-mamba", "wiki-mamba2"}) {
    const std::string path = shared_path("goldens/gguf/" + std::string(name) + ".f16.gguf");
    const std::string original = shared_path("models/" + std::string(name) + "/tokenizer.json");
    const std::string text_path = shared_path("data/wikitext2.test.raw.txt");
    if (path.empty() || original.empty() || text_path.empty()) continue;
    const GgufModel model = read_gguf(path);
    const Tokenizer ours = Tokenizer::from_json(model.texts.tokenizer, path);
    const Tokenizer theirs = Tokenizer::from_json(read_bytes(original), original);
    const std::string text = read_bytes(text_path).substr(0, 200000);
    CHECK(ours.encode(text, true) == theirs.encode(text, true));
    CHECK(ours.vocab_size() == theirs.vocab_size());
    CHECK(json::parse(model.texts.tokenizer_config)["eos_token"] == "<|endoftext|>");
    CHECK(json::parse(model.texts.generation_config)["eos_token_id"] == 0);
  }
}

TEST_CASE("without scores of their own, pieces rank by their ids, runs of spaces last",
          "[gguf][tokenizer]") {
  const std::string space = "\xe2\x96\x81";
  GgufBuilder file;
  file.text("tokenizer.ggml.model", "llama");
  file.texts("tokenizer.ggml.tokens",
             {"<unk>", "<s>", space + space, space + "a", "ab", space, "a", "b"});
  file.numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 1, 1, 1, 1, 1, 1});
  file.numbers<float>("tokenizer.ggml.scores", 6, std::vector<float>(8, -1000));
  file.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.unknown_token_id", 0);
  const Tokenizer tokenizer = tell(file).tokenizer();
  CHECK(tokenizer.encode("ab", true) == std::vector<int32_t>{1, 3, 7});
  CHECK(tokenizer.encode(" ab", false) == std::vector<int32_t>{5, 3, 7});
  CHECK(tokenizer.encode(" b", false) == std::vector<int32_t>{2, 7});
  CHECK(tokenizer.encode("c", false) == std::vector<int32_t>{5, 0});
  file.boolean("tokenizer.ggml.add_space_prefix", false);
  CHECK(tell(file).tokenizer().encode("ab", false) == std::vector<int32_t>{4});
}

TEST_CASE("ids, ends of turns, template and fillers of a GGUF", "[gguf][tokenizer]") {
  GgufBuilder file;
  add_gguf_tokenizer(file);
  file.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<end>", "<turn>", "[PAD5]"});
  file.numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 3, 3, 5});
  file.u32("tokenizer.ggml.eot_token_id", 4).u32("tokenizer.ggml.padding_token_id", UINT32_MAX);
  file.text("tokenizer.chat_template", "{{ messages }}");
  const Told told = tell(file);
  CHECK(told.texts.chat_template == "{{ messages }}");
  CHECK(told.config["bos_token_id"] == 3);
  CHECK(json::parse(told.texts.generation_config)["eos_token_id"] == json::array({3, 4}));
  CHECK(json::parse(told.texts.tokenizer_config) ==
        json{{"bos_token", "<end>"}, {"eos_token", "<end>"}});
  CHECK(told.tokenizer().vocab_size() == 5);
  CHECK(told.tokenizer().encode("ab<turn>", false) == std::vector<int32_t>{2, 4});
  // A file without a tokenizer has none.
  CHECK(tell(GgufBuilder()).texts.tokenizer.empty());
}

TEST_CASE("two equal tokens are no error, and special tokens have their names",
          "[gguf][tokenizer]") {
  GgufBuilder file;
  add_gguf_tokenizer(file);
  file.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<end>", "a", "<end>"});
  file.numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 3, 1, 3});
  file.u32("tokenizer.ggml.unknown_token_id", 0).u32("tokenizer.ggml.padding_token_id", 1);
  file.u32("tokenizer.ggml.seperator_token_id", 2).u32("tokenizer.ggml.mask_token_id", 3);
  const Told told = tell(file);
  CHECK(told.tokenizer().encode("aba<end>", false) == std::vector<int32_t>{2, 0, 3});
  const json names = json::parse(told.texts.tokenizer_config);
  CHECK(names["unk_token"] == "a");
  CHECK(names["pad_token"] == "b");
  CHECK(names["sep_token"] == "ab");
  CHECK(names["mask_token"] == "<end>");
}

TEST_CASE("a tokenizer that klens lacks is told when it is needed", "[gguf][tokenizer]") {
  GgufBuilder file = small_gguf_llama();
  add_gguf_tokenizer(file);
  file.text("tokenizer.ggml.pre", "poro-chat").text("tokenizer.chat_template", "{{ messages }}");
  const std::string bytes = file.bytes();
  const GgufModel model = read_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf"));
  CHECK(model.texts.tokenizer.empty());
  CHECK(model.texts.tokenizer_problem.find("poro-chat") != std::string::npos);
  CHECK(model.texts.chat_template == "{{ messages }}");
  CHECK(json::parse(model.texts.generation_config).contains("eos_token_id"));
}

}  // namespace klens
