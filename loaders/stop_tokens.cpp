#include "loaders/stop_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "loaders/checkpoint.h"
#include "loaders/json.h"
#include "loaders/tokenizer/token_names.h"
#include "loaders/tokenizer/tokenizer.h"

namespace klens {
namespace {

using nlohmann::json;

constexpr int64_t kMaxToken = int64_t{1} << 24;

// How published chat models spell the end of a turn or of a message in it.
constexpr const char* kEnds[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<|eot|>",
    "<|eom|>",
    "<EOT>",
    "<end_of_utterance>",
    "<|END_OF_TURN_TOKEN|>",
    "</s>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
};

void add(std::vector<StopToken>& tokens, int32_t id, const std::string& from) {
  const auto known = std::find_if(tokens.begin(), tokens.end(),
                                  [&](const StopToken& token) { return token.id == id; });
  if (known == tokens.end())
    tokens.push_back({.id = id, .text = "", .from = from});
  else if ((", " + known->from + ", ").find(", " + from + ", ") == std::string::npos)
    known->from += ", " + from;
}

// A token by its text, and who calls it the end.
struct NamedEnd {
  std::string text;
  const char* from;
};

std::vector<StopToken> complete(std::vector<StopToken> tokens, const ModelTexts& texts,
                                const std::vector<NamedEnd>& named) {
  std::set<int32_t> ids;
  for (const StopToken& token : tokens) ids.insert(token.id);
  std::set<std::string> ends;
  for (const NamedEnd& end : named) ends.insert(end.text);
  const TokenNames names = find_token_names(texts.tokenizer, texts.tokenizer_config, ids, ends);
  for (const NamedEnd& end : named)
    if (const auto found = names.ids.find(end.text); found != names.ids.end())
      add(tokens, found->second, end.from);
  for (const char* end : kEnds)
    if (const auto found = names.control.find(end);
        found != names.control.end() && texts.chat_template.find(end) != std::string::npos)
      add(tokens, found->second, "chat template");
  for (StopToken& token : tokens)
    if (const auto found = names.texts.find(token.id); found != names.texts.end())
      token.text = found->second;
  return tokens;
}

std::string eos_token(const std::string& tokenizer_config, const std::string& where) {
  if (tokenizer_config.empty()) return "";
  const JsonDocument document = parse_json(tokenizer_config, where + " (tokenizer_config.json)");
  const json& config = *document;
  return special_token(config, "eos_token");
}

}  // namespace

std::string special_token(const json& config, const char* key) {
  const auto found = config.is_object() ? config.find(key) : config.end();
  if (!config.is_object() || found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string())
    return (*found)["content"].get<std::string>();
  return "";
}

std::vector<int32_t> token_ids(const Config& config, const char* key) {
  if (!config.has({key})) return {};
  if (!config.is_list(key)) return {static_cast<int32_t>(config.integer({key}, 0, kMaxToken))};
  std::vector<int32_t> ids;
  for (const int64_t id : config.integers(key, 0, kMaxToken))
    ids.push_back(static_cast<int32_t>(id));
  return ids;
}

std::vector<StopToken> find_stop_tokens(const ModelTexts& texts, const Config& config,
                                        const Config& generation, const std::string& where,
                                        const std::string& special_eos) {
  std::vector<StopToken> tokens;
  for (const int32_t id : token_ids(generation, "eos_token_id"))
    add(tokens, id, "generation_config.json");
  for (const Config& part : {config, config.language()})
    for (const int32_t id : token_ids(part, "eos_token_id")) add(tokens, id, "config.json");
  return complete(std::move(tokens), texts,
                  {{eos_token(texts.tokenizer_config, where), "tokenizer_config.json"},
                   {special_eos, "special_tokens_map.json"}});
}

std::vector<StopToken> find_stop_tokens(const ModelTexts& texts, std::vector<StopToken> known) {
  std::vector<StopToken> tokens;
  for (const StopToken& token : known) add(tokens, token.id, token.from);
  return complete(std::move(tokens), texts, {});
}

std::vector<MissingStop> find_missing_stops(const ModelTexts& texts,
                                            const std::vector<StopToken>& stops, int64_t vocab,
                                            const Tokenizer* tokenizer, const std::string& where) {
  std::vector<MissingStop> missing;
  for (const StopToken& stop : stops)
    if (stop.id >= vocab || (tokenizer != nullptr && tokenizer->token(stop.id).empty()))
      missing.push_back({.id = stop.id, .text = stop.text, .from = stop.from});
  const std::string eos = eos_token(texts.tokenizer_config, where);
  const bool named = std::any_of(stops.begin(), stops.end(),
                                 [&](const StopToken& stop) { return stop.text == eos; });
  if (tokenizer != nullptr && !eos.empty() && !named && !tokenizer->token_id(eos))
    missing.push_back({.id = std::nullopt, .text = eos, .from = "tokenizer_config.json"});
  return missing;
}

std::string stop_tokens_json(const std::vector<StopToken>& tokens) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const StopToken& token : tokens)
    list.push_back({{"id", token.id}, {"text", token.text}, {"from", token.from}});
  return list.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<StopToken> parse_stop_tokens(const std::string& text, const std::string& where) {
  const JsonDocument document = parse_json(text, where);
  const json& list = *document;
  if (!list.is_array())
    throw Error(ErrorKind::kBadFile, where + ": is not a list; get the file again");
  std::vector<StopToken> tokens;
  for (const json& entry : list) {
    const Config token(JsonDocument(entry), where);
    tokens.push_back({.id = static_cast<int32_t>(token.integer({"id"}, 0, kMaxToken)),
                      .text = token.text({"text"}, ""),
                      .from = token.text({"from"}, "")});
  }
  return tokens;
}

}  // namespace klens
