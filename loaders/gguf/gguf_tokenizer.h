#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "loaders/checkpoint.h"
#include "loaders/gguf/gguf_file.h"

namespace klens {

// tokenizer.json, tokenizer_config.json, generation_config.json and the chat template of the
// tokenizer.* keys, all but config.json; "" where the file has none. The ids of texts are those of
// the tokenizer that the file was converted from. Adds bos_token_id and eos_token_id to `config`.
// A tokenizer that klens does not know leaves texts.tokenizer_problem instead of texts.tokenizer.
// Returns the tokens that keys name as ends, without their texts. Throws Error naming the file and
// key for what is damaged.
std::vector<StopToken> gguf_tokenizer(const GgufFile& file, ModelTexts& texts,
                                      nlohmann::ordered_json& config);

// How a byte-level BPE tokenizer prepares its text: what tokenizer.ggml.pre stands for, in
// tokenizer.json's terms.
struct GgufPreTokenizer {
  nlohmann::json normalizer, pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};
GgufPreTokenizer gguf_pre_tokenizer(const GgufFile& file);

}  // namespace klens
