// The tokens that end a turn: the union of all places that name one, for every kind of file.
#include "loaders/stop_tokens.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "loaders/checkpoint.h"
#include "loaders/klens_file.h"
#include "loaders/klens_schema.h"
#include "loaders/tokenizer/tokenizer.h"
#include "quant/quantizers/rtn.h"
#include "tests/loaders/architectures.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
using nlohmann::json;

// "ID TEXT < FROM" for each.
std::vector<std::string> shown_tokens(const std::vector<StopToken>& tokens) {
  std::vector<std::string> lines;
  for (const StopToken& token : tokens)
    lines.push_back(std::to_string(token.id) + " " + token.text + " < " + token.from);
  return lines;
}
using Lines = std::vector<std::string>;

// Of a checkpoint folder with these texts.
Lines found(const ModelTexts& texts) {
  const Config generation(texts.generation_config.empty() ? "{}" : texts.generation_config,
                          "generation_config.json");
  return shown_tokens(
      find_stop_tokens(texts, Config(texts.config, "config.json"), generation, "model"));
}

constexpr const char* kNamedTokens = R"({"added_tokens":[
    {"id":7,"content":"<|im_end|>","special":true},
    {"id":8,"content":"<|eot_id|>","special":false},
    {"id":9,"content":"<end_of_turn>","special":true},
    {"id":10,"content":"</s>","special":true}],
  "model":{"type":"BPE","vocab":{"a":0,"<|end|>":1,"stop":2},"merges":[]}})";

// What a model file of the source says, as it is written or with klens.stop_tokens changed.
std::string write_klens(const Checkpoint& source, const std::string& path) {
  KlensHeader header{.plan = {}, .provenance = {}};
  header.plan.method = "given";
  for (const LinearSpec& unit : source.spec.units)
    header.plan.units[unit.name] = {.format = "int8"};
  write_klens_file(path, source, header, [](const StoredUnit& unit, const Choice& choice) {
    return quantize_rtn(*find_format(choice.format), unit.view, {});
  });
  return path;
}

}  // namespace

TEST_CASE("stop tokens are the union of configs, tokenizer_config and chat template", "[stop]") {
  ModelTexts texts;
  texts.config = R"({"eos_token_id":[3,4]})";
  texts.generation_config = R"({"eos_token_id":4})";
  texts.tokenizer = kNamedTokens;
  CHECK(found(texts) == Lines{"4  < generation_config.json, config.json", "3  < config.json"});
  texts.config = "{}";
  texts.generation_config = R"({"eos_token_id":null})";
  CHECK(found(texts).empty());
  // By text: an added token, or one of the vocabulary alone; as a text or an object.
  texts.tokenizer_config = R"({"eos_token":"</s>"})";
  CHECK(found(texts) == Lines{"10 </s> < tokenizer_config.json"});
  texts.tokenizer_config = R"({"eos_token":{"content":"stop","special":true}})";
  CHECK(found(texts) == Lines{"2 stop < tokenizer_config.json"});
  texts.tokenizer_config = R"({"eos_token":"not there"})";
  CHECK(found(texts).empty());
  // Control tokens that the template writes: not <|eot_id|>, which is none, nor <|end|>, which is
  // no added token, nor <end_of_turn>, which the template lacks.
  texts.config = R"({"eos_token_id":10})";
  texts.tokenizer_config = R"({"eos_token":"</s>"})";
  texts.chat_template = "{{ m.content }}<|im_end|><|eot_id|><|end|></s>";
  CHECK(found(texts) == Lines{"10 </s> < config.json, tokenizer_config.json, chat template",
                              "7 <|im_end|> < chat template"});
  // Without a tokenizer.json, tokenizer_config.json's own list has the names.
  texts.tokenizer.clear();
  texts.tokenizer_config =
      R"({"eos_token":"</s>","added_tokens_decoder":{"10":{"content":"</s>","special":true},
          "x":{"content":"<|end|>","special":true},"7":{"content":"<|im_end|>","special":true}}})";
  CHECK(found(texts) == Lines{"10 </s> < config.json, tokenizer_config.json, chat template",
                              "7 <|im_end|> < chat template"});
}

TEST_CASE("what ends a turn and is no token is told", "[stop]") {
  const Tokenizer tokenizer = Tokenizer::from_json(
      R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"</s>":2},"merges":[]}})", "tokenizer.json");
  const std::vector<StopToken> stops = {{.id = 2, .text = "</s>", .from = "config.json"},
                                        {.id = 5, .text = "", .from = "config.json"},
                                        {.id = 8, .text = "", .from = "config.json"}};
  const auto missing = [&](const std::string& eos, const Tokenizer* known) {
    ModelTexts texts;
    texts.tokenizer_config = json{{"eos_token", eos}}.dump();
    Lines lines;
    for (const MissingStop& stop : find_missing_stops(texts, stops, 8, known, "model"))
      lines.push_back((stop.id ? std::to_string(*stop.id) : "-") + " " + stop.text);
    return lines;
  };
  // 5 is a row of the padded vocabulary, of which nothing is known without a tokenizer.
  CHECK(missing("</s>", &tokenizer) == Lines{"5 ", "8 "});
  CHECK(missing("</s>", nullptr) == Lines{"8 "});
  CHECK(missing("<|end|>", &tokenizer) == Lines{"5 ", "8 ", "- <|end|>"});
  CHECK(missing("<|end|>", nullptr) == Lines{"8 "});
  CHECK(missing("", &tokenizer) == Lines{"5 ", "8 "});
}

TEST_CASE("what is no list of ids is refused by key", "[stop]") {
  for (const char* eos : {"\"end\"", "[0,-7]", "1.5", "{}"}) {
    CAPTURE(eos);
    CHECK_THAT(refusal([&] {
                 ModelTexts texts;
                 texts.config = std::string("{\"eos_token_id\":") + eos + "}";
                 found(texts);
               }),
               Catch::StartsWith("config.json: eos_token_id"));
  }
}

TEST_CASE(
    "a state-spaces folder with the tokenizer's files beside it stops, and so does its .klens",
    "[stop]") {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  write_tiny_checkpoint(model, {.d_inner = 16});
  write_bytes(model + "/config.json", R"({"d_model":8,"n_layer":1,"vocab_size":8,"rms_norm":true,
      "ssm_cfg":{"d_state":2,"d_conv":2,"dt_rank":1},"pad_vocab_size_multiple":8})");
  Container container = Container::read(model + "/model.safetensors");
  container.header["backbone.embedding.weight"] = container.header["backbone.embeddings.weight"];
  container.header.erase("backbone.embeddings.weight");
  write_bytes(model + "/model.safetensors", container.bytes());
  CHECK(open_checkpoint(model, false).stop_tokens.empty());

  json tokenizer = json::parse(read_bytes(data_path("tokenizers/neox.json")));
  tokenizer["added_tokens"].push_back({{"id", 367},
                                       {"content", "<|endoftext|>"},
                                       {"single_word", false},
                                       {"lstrip", false},
                                       {"rstrip", false},
                                       {"normalized", false},
                                       {"special", true}});
  write_bytes(model + "/tokenizer.json", tokenizer.dump());
  write_bytes(model + "/tokenizer_config.json",
              R"({"tokenizer_class":"GPTNeoXTokenizer","eos_token":"<|endoftext|>"})");
  const Tokenizer neox = Tokenizer::from_json(tokenizer.dump(), "neox");
  REQUIRE(neox.token_id("<|endoftext|>") == 367);
  const std::string line = "367 <|endoftext|> < tokenizer_config.json";
  const Checkpoint source = open_checkpoint(model, false);
  CHECK(shown_tokens(source.stop_tokens) == Lines{line});
  const std::string path = write_klens(source, folder / "model.klens");
  CHECK(shown_tokens(open_checkpoint(path, true).stop_tokens) == Lines{line});
  char* report = nullptr;
  REQUIRE(klens_inspect(path.c_str(), 0, &report, nullptr) == KLENS_OK);
  CHECK(json::parse(report)["stop_tokens"] ==
        json::array({{{"id", 367}, {"text", "<|endoftext|>"}, {"from", "tokenizer_config.json"}}}));
  klens_string_free(report);
}

TEST_CASE("a GGUF's keys name its ends, and its template others; its .klens keeps them", "[stop]") {
  const TemporaryFolder folder;
  GgufBuilder file = small_gguf_llama();
  add_gguf_tokenizer(file);
  file.texts("tokenizer.ggml.tokens", {"<|im_end|>", "<|end|>", "ab", "<end>"});
  file.numbers<int32_t>("tokenizer.ggml.token_type", 5, {3, 1, 1, 3});
  file.drop("tokenizer.ggml.merges").u32("tokenizer.ggml.eot_token_id", 2);
  file.u32("tokenizer.ggml.eom_token_id", 3);
  file.text("tokenizer.chat_template", "{{ messages }}<|im_end|><|end|>");
  write_bytes(folder / "model.gguf", file.bytes());
  const Lines expected = {"3 <end> < tokenizer.ggml.eos_token_id, tokenizer.ggml.eom_token_id",
                          "2 ab < tokenizer.ggml.eot_token_id", "0 <|im_end|> < chat template"};
  const Checkpoint source = open_checkpoint(folder / "model.gguf", false);
  CHECK(shown_tokens(source.stop_tokens) == expected);
  const std::string path = write_klens(source, folder / "model.klens");
  CHECK(shown_tokens(open_checkpoint(path, true).stop_tokens) == expected);

  // A file of 1.0 has no such list: its texts say it.
  header(R"({"__metadata__":{"klens.stop_tokens":null}})")(path);
  CHECK(shown_tokens(open_checkpoint(path, true).stop_tokens) ==
        Lines{"3 <end> < generation_config.json, config.json, tokenizer_config.json",
              "2 ab < generation_config.json", "0 <|im_end|> < chat template"});
  for (const char* bad : {"{}", "[1]", R"([{"id":-1}])", R"([{"text":"a"}])"}) {
    CAPTURE(bad);
    const json patch = {{"__metadata__", {{klens_key::kStopTokens, bad}}}};
    header(patch.dump().c_str())(path);
    CHECK_THAT(refusal([&] { open_checkpoint(path, false); }),
               Catch::StartsWith(path + " (klens.stop_tokens"));
  }
}

}  // namespace klens
