#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "loaders/config.h"

namespace klens {

struct ModelTexts;
class Tokenizer;

// A token that ends a turn.
struct StopToken {
  int32_t id = 0;
  std::string text;  // as spelled in the vocabulary; "" where it is not known
  std::string from;  // every place that says so, ", " between them
};

// What config.json and generation_config.json call eos_token_id: a number or a list. Throws Error
// naming file and key for what is neither.
std::vector<int32_t> token_ids(const Config& config, const char* key);

// The union of all places that name an end: eos_token_id of generation_config.json and of
// config.json, eos_token of tokenizer_config.json (a text or an object), the one of
// special_tokens_map.json (special_eos; "": none), and the well-known ends of turns that are
// control tokens of the tokenizer where the chat template writes them. In this order, each id once.
// `where` names the model in messages.
std::vector<StopToken> find_stop_tokens(const ModelTexts& texts, const Config& config,
                                        const Config& generation, const std::string& where,
                                        const std::string& special_eos = "");
// The same for a model whose file names its ends itself (GGUF, .klens): `known`, each with its id
// and where it comes from, then what the chat template adds; texts are filled in.
std::vector<StopToken> find_stop_tokens(const ModelTexts& texts, std::vector<StopToken> known);

// An end that is named and is no token of the model: generation cannot stop there.
struct MissingStop {
  std::optional<int32_t> id;  // absent: it is named by its text
  std::string text, from;     // as of a StopToken
};
// The ids of `stops` beyond `vocab`, those that `tokenizer` (null: none can be used) has no token
// for, and an eos_token of tokenizer_config.json that is not among its tokens.
std::vector<MissingStop> find_missing_stops(const ModelTexts& texts,
                                            const std::vector<StopToken>& stops, int64_t vocab,
                                            const Tokenizer* tokenizer, const std::string& where);

// A special token of tokenizer_config.json: a text, or an object with its content; "" if there is
// none.
std::string special_token(const nlohmann::json& tokenizer_config, const char* key);

// klens.stop_tokens of a .klens file. Throws Error naming the file for what is no such list.
std::string stop_tokens_json(const std::vector<StopToken>& tokens);
std::vector<StopToken> parse_stop_tokens(const std::string& json, const std::string& where);

}  // namespace klens
