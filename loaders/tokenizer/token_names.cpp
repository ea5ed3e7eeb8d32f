#include "loaders/tokenizer/token_names.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace klens {
namespace {

using nlohmann::json;

struct Wanted {
  const std::set<int32_t>& ids;
  const std::set<std::string>& texts;

  bool all_in(const TokenNames& names) const {
    return std::all_of(ids.begin(), ids.end(),
                       [&](int32_t id) { return names.texts.count(id) != 0; }) &&
           std::all_of(texts.begin(), texts.end(), [&](const std::string& text) {
             return text.empty() || names.ids.count(text) != 0;
           });
  }
};

struct Named {
  int64_t id = -1;
  std::string content;
  bool special = false;
};

void add(const Named& token, const Wanted& wanted, TokenNames& names) {
  if (token.id < 0 || token.id > INT32_MAX || token.content.empty()) return;
  const auto id = static_cast<int32_t>(token.id);
  names.texts.emplace(id, token.content);
  if (wanted.texts.count(token.content) != 0) names.ids.emplace(token.content, id);
  if (token.special) names.control.emplace(token.content, id);
}

// Listens to a tokenizer.json: "added_tokens" is a list of objects, "model" holds the object
// "vocab". Returning false ends the parse.
class Listener : public nlohmann::json_sax<json> {
 public:
  Listener(const Wanted& wanted, TokenNames& names) : wanted_(wanted), names_(names) {}

  bool null() override { return true; }
  bool boolean(bool value) override {
    if (in_added_token() && key_ == "special") token_.special = value;
    return true;
  }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > INT32_MAX) return true;
    if (in_added_token() && key_ == "id") token_.id = static_cast<int64_t>(value);
    if (in_vocabulary()) {
      const auto id = static_cast<int32_t>(value);
      if (wanted_.ids.count(id) != 0) names_.texts.emplace(id, key_);
      if (wanted_.texts.count(key_) != 0 && names_.ids.emplace(key_, id).second)
        names_.texts.emplace(id, key_);
    }
    return true;
  }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t& value) override {
    if (in_added_token() && key_ == "content") token_.content = value;
    return true;
  }
  bool binary(json::binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    ++depth_;
    if (in_added_token()) token_ = {};
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) section_ = name;
    if (depth_ == 2) part_ = name;
    key_ = name;
    return true;
  }
  bool end_object() override {
    if (in_added_token()) add(token_, wanted_, names_);
    const bool done = in_vocabulary();
    --depth_;
    return !done || !wanted_.all_in(names_);
  }
  bool start_array(std::size_t) override {
    ++depth_;
    return true;
  }
  bool end_array() override {
    const bool done = depth_ == 2 && section_ == "added_tokens";
    --depth_;
    return !done || !wanted_.all_in(names_);
  }
  bool parse_error(std::size_t, const std::string&, const json::exception&) override {
    return false;
  }

 private:
  bool in_added_token() const { return depth_ == 3 && section_ == "added_tokens"; }
  bool in_vocabulary() const { return depth_ == 3 && section_ == "model" && part_ == "vocab"; }

  const Wanted& wanted_;
  TokenNames& names_;
  int depth_ = 0;
  std::string section_, part_, key_;
  Named token_;
};

// added_tokens_decoder: {"ID": {"content": "...", "special": true}, ...}.
void read_decoder(std::string_view tokenizer_config, const Wanted& wanted, TokenNames& names) {
  const json config = json::parse(tokenizer_config, nullptr, false);
  const auto decoder = config.is_object() ? config.find("added_tokens_decoder") : config.end();
  if (!config.is_object() || decoder == config.end() || !decoder->is_object()) return;
  for (const auto& [id, token] : decoder->items()) {
    if (!token.is_object() || id.empty() || id.size() > 9 ||
        id.find_first_not_of("0123456789") != std::string::npos)
      continue;
    const json content = token.value("content", json()), special = token.value("special", json());
    if (content.is_string())
      add({.id = std::stoll(id), .content = content.get<std::string>(), .special = special == true},
          wanted, names);
  }
}

}  // namespace

TokenNames find_token_names(std::string_view tokenizer, std::string_view tokenizer_config,
                            const std::set<int32_t>& ids, const std::set<std::string>& texts) {
  const Wanted wanted{ids, texts};
  TokenNames names;
  if (!tokenizer_config.empty()) read_decoder(tokenizer_config, wanted, names);
  Listener listener(wanted, names);
  if (!tokenizer.empty()) json::sax_parse(tokenizer, &listener);
  return names;
}

}  // namespace klens
