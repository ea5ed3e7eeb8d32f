#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace klens {

// Some tokens of a tokenizer, by text and by id.
struct TokenNames {
  std::map<std::string, int32_t> ids;      // of the texts asked for
  std::map<int32_t, std::string> texts;    // of the ids asked for, and of all added tokens
  std::map<std::string, int32_t> control;  // added tokens that are marked as special
};

// Looks them up in a tokenizer.json and in the added_tokens_decoder of a tokenizer_config.json;
// either may be "". No tokenizer is made for it: reading ends as soon as all are found, which is
// before the vocabulary for nearly every model, and a tokenizer that klens does not support has
// names too. What is not there, or cannot be read, is left out.
TokenNames find_token_names(std::string_view tokenizer, std::string_view tokenizer_config,
                            const std::set<int32_t>& ids, const std::set<std::string>& texts);

}  // namespace klens
