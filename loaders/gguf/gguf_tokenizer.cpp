#include "loaders/gguf/gguf_tokenizer.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using nlohmann::json;

constexpr const char* kPieceSpace = "\xe2\x96\x81";  // U+2581, SentencePiece's space
constexpr size_t kMostTokens = 10'000'000;
constexpr size_t kLongestToken = 4096;

enum TokenType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// The list of tokens, checked: UTF-8, no longer than any sound one, each with its type.
struct TokenList {
  std::vector<std::string_view> texts;
  std::vector<int64_t> types;

  size_t size() const { return texts.size(); }
  // What converters put where the embedding has rows and the tokenizer has no token.
  bool is_filler(size_t id) const {
    return types[id] == kUnused && texts[id] == "[PAD" + std::to_string(id) + "]";
  }
};

TokenList read_tokens(const GgufFile& file) {
  TokenList list{file.texts("tokenizer.ggml.tokens"),
                 file.integers("tokenizer.ggml.token_type", 0, INT32_MAX)};
  if (list.texts.empty())
    file.fail(std::string("lacks the key tokenizer.ggml.tokens") + kConvertAgain);
  if (list.size() > kMostTokens)
    file.fail("key tokenizer.ggml.tokens has more than 10000000 entries" +
              std::string(kConvertAgain));
  if (list.types.empty()) list.types.assign(list.size(), kNormal);
  if (list.types.size() != list.size())
    file.fail("key tokenizer.ggml.token_type has " + std::to_string(list.types.size()) +
              " entries for " + std::to_string(list.size()) + " tokens" + kConvertAgain);
  for (size_t id = 0; id < list.size(); ++id)
    if (!utf8::is_valid(list.texts[id]) || list.texts[id].size() > kLongestToken)
      file.fail("key tokenizer.ggml.tokens: entry " + std::to_string(id) +
                " is not UTF-8 or longer than 4096 bytes" + kConvertAgain);
  return list;
}

// A token of tokenizer.ggml.NAME_token_id; absent if there is none.
std::optional<int64_t> special_id(const GgufFile& file, const std::string& name,
                                  const TokenList& tokens) {
  const std::string key = "tokenizer.ggml." + name + "_token_id";
  const int64_t none = -1;
  // Old converters wrote -1, as INT32 or as UINT32, for tokens that there are not.
  const int64_t id = file.integer(key, -1, UINT32_MAX, none);
  if (id == none || id == static_cast<int64_t>(UINT32_MAX)) return std::nullopt;
  if (id >= static_cast<int64_t>(tokens.size()))
    file.fail("key " + key + " is " + std::to_string(id) + ", but there are " +
              std::to_string(tokens.size()) + " tokens" + kConvertAgain);
  return id;
}

// What there is one of for each token, or merge, is a JsonDocument, and goes into others last.
// Of equal tokens the first has the text, as where an added token repeats one of the vocabulary.
JsonDocument vocabulary(const TokenList& tokens) {
  JsonDocument document(json::object());
  for (size_t id = 0; id < tokens.size(); ++id)
    if (!tokens.is_filler(id)) document->emplace(std::string(tokens.texts[id]), id);
  return document;
}

JsonDocument added_tokens(const TokenList& tokens) {
  JsonDocument document(json::array());
  json& added = *document;
  std::set<std::string_view> seen;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const int64_t type = tokens.types[id];
    if (tokens.texts[id].empty()) continue;
    if (!seen.insert(tokens.texts[id]).second) continue;
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    added.push_back({{"id", id},
                     {"content", std::string(tokens.texts[id])},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != kUserDefined}});
  }
  return document;
}

// Begin and end of text, where the file wants them.
json post_processor(const GgufFile& file, const TokenList& tokens, bool add_bos) {
  json single = json::array(), special = json::object();
  const auto add = [&](const std::string& name, bool otherwise) {
    const bool wanted = file.boolean("tokenizer.ggml.add_" + name + "_token", otherwise);
    const std::optional<int64_t> id = special_id(file, name, tokens);
    if (!wanted || !id) return;
    const std::string text(tokens.texts[static_cast<size_t>(*id)]);
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {*id}}, {"tokens", {text}}};
  };
  add("bos", add_bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("eos", false);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", json::array()},
          {"special_tokens", std::move(special)}};
}

void put(JsonDocument& to, const char* key, JsonDocument value) {
  json& place = (*to)[key];
  place.swap(*value);
}

JsonDocument bpe_model(JsonDocument vocabulary, JsonDocument merges) {
  JsonDocument model({{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false}});
  put(model, "vocab", std::move(vocabulary));
  put(model, "merges", std::move(merges));
  return model;
}

// settings: all but the model and the added tokens.
JsonDocument assemble(json settings, JsonDocument model, JsonDocument added) {
  JsonDocument tokenizer(std::move(settings));
  (*tokenizer)["version"] = "1.0";
  put(tokenizer, "model", std::move(model));
  put(tokenizer, "added_tokens", std::move(added));
  return tokenizer;
}

JsonDocument byte_level_bpe(const GgufFile& file, const TokenList& tokens) {
  GgufPreTokenizer pre = gguf_pre_tokenizer(file);
  JsonDocument document(json::array());
  json& merges = *document;
  for (const std::string_view merge : file.texts("tokenizer.ggml.merges")) {
    const size_t space = merge.find(' ', 1);
    if (!utf8::is_valid(merge) || space == std::string_view::npos)
      file.fail("key tokenizer.ggml.merges: entry " + std::to_string(merges.size()) +
                " is not two tokens" + kConvertAgain);
    merges.push_back({std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))});
  }
  JsonDocument model = bpe_model(vocabulary(tokens), std::move(document));
  (*model)["ignore_merges"] = pre.ignore_merges;
  return assemble({{"normalizer", std::move(pre.normalizer)},
                   {"pre_tokenizer", std::move(pre.pre_tokenizer)},
                   {"post_processor", post_processor(file, tokens, pre.add_bos)},
                   {"decoder",
                    {{"type", "ByteLevel"},
                     {"add_prefix_space", true},
                     {"trim_offsets", true},
                     {"use_regex", true}}}},
                  std::move(model), added_tokens(tokens));
}

// One way to put a piece together from two others.
struct WrittenMerge {
  float score;
  uint32_t left, right;  // ids
};

// The ids of the tokens that merging may make or use, by text.
std::map<std::string_view, uint32_t> mergeable(const TokenList& tokens) {
  std::map<std::string_view, uint32_t> ids;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const int64_t type = tokens.types[id];
    if (type == kControl || type == kUnknown || type == kByte) continue;
    if (tokens.texts[id].empty() || tokens.is_filler(id)) continue;
    ids.emplace(tokens.texts[id], static_cast<uint32_t>(id));
  }
  return ids;
}

bool is_only_spaces(std::string_view piece) {
  const std::string_view space = kPieceSpace;
  while (piece.starts_with(space)) piece.remove_prefix(space.size());
  return piece.empty();
}

// Some converters write one score for all tokens. SentencePiece numbers pieces from the best score
// down, except for runs of spaces, which come last whatever their number.
void restore_scores(const TokenList& tokens, std::vector<float>& scores) {
  std::optional<float> first;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens.types[id] != kNormal) continue;
    if (first && scores[id] != *first) return;
    first = scores[id];
  }
  for (size_t id = 0; id < tokens.size(); ++id)
    scores[id] = is_only_spaces(tokens.texts[id]) ? -1e9f : -static_cast<float>(id);
}

// SentencePiece merges the pair whose result scores best. As ranked merges: by score; the ways to
// make one piece by their ids, as in the tokenizer.json files published with such models.
std::vector<WrittenMerge> merges_of_scores(const TokenList& tokens,
                                           const std::vector<float>& scores) {
  const std::map<std::string_view, uint32_t> ids = mergeable(tokens);
  std::vector<uint32_t> in_order;
  for (const auto& entry : ids) in_order.push_back(entry.second);
  std::sort(in_order.begin(), in_order.end());
  std::vector<WrittenMerge> merges;
  for (const uint32_t id : in_order) {
    const std::string_view piece = tokens.texts[id];
    const auto first = static_cast<std::ptrdiff_t>(merges.size());
    for (size_t at = 0; at < piece.size(); at += utf8::length_at(piece, at)) {
      const auto left = ids.find(piece.substr(0, at)), right = ids.find(piece.substr(at));
      if (left != ids.end() && right != ids.end())
        merges.push_back({scores[id], left->second, right->second});
    }
    std::sort(merges.begin() + first, merges.end(),
              [](const WrittenMerge& a, const WrittenMerge& b) {
                return std::pair(a.left, a.right) < std::pair(b.left, b.right);
              });
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const WrittenMerge& a, const WrittenMerge& b) { return a.score > b.score; });
  return merges;
}

JsonDocument sentencepiece_bpe(const GgufFile& file, const TokenList& tokens) {
  std::vector<float> scores = file.numbers("tokenizer.ggml.scores");
  if (scores.size() != tokens.size())
    file.fail("key tokenizer.ggml.scores has " + std::to_string(scores.size()) + " entries for " +
              std::to_string(tokens.size()) + " tokens" + kConvertAgain);
  restore_scores(tokens, scores);
  JsonDocument document(json::array());
  json& merges = *document;
  for (const WrittenMerge& merge : merges_of_scores(tokens, scores))
    merges.push_back(
        {std::string(tokens.texts[merge.left]), std::string(tokens.texts[merge.right])});
  JsonDocument bpe = bpe_model(vocabulary(tokens), std::move(document));
  json& model = *bpe;
  model["fuse_unk"] = true;
  model["byte_fallback"] =
      std::find(tokens.types.begin(), tokens.types.end(), kByte) != tokens.types.end();
  if (const auto unknown = special_id(file, "unknown", tokens))
    model["unk_token"] = std::string(tokens.texts[static_cast<size_t>(*unknown)]);

  const bool prefix = file.boolean("tokenizer.ggml.add_space_prefix", true);
  const json spaces = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kPieceSpace}};
  json normalizers = json::array(), decoders = json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kPieceSpace}});
  normalizers.push_back(spaces);
  decoders.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", kPieceSpace}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return assemble({{"normalizer", {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}}},
                   {"pre_tokenizer", nullptr},
                   {"post_processor", post_processor(file, tokens, true)},
                   {"decoder", {{"type", "Sequence"}, {"decoders", std::move(decoders)}}}},
                  std::move(bpe), added_tokens(tokens));
}

// What else of tokenizer.ggml.* would change the ids.
void refuse_unknown_settings(const GgufFile& file) {
  for (const char* key :
       {"tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.add_sep_token",
        "tokenizer.ggml.normalizer.lowercase", "tokenizer.ggml.normalizer.strip_accents"})
    if (file.boolean(key, false))
      file.unsupported(
          "key " + std::string(key) +
          " is true, which klens lacks; use the checkpoint that the file was made from");
  if (file.has("tokenizer.ggml.precompiled_charsmap"))
    file.unsupported(
        "key tokenizer.ggml.precompiled_charsmap asks for a normalization that klens "
        "lacks; use the checkpoint that the file was made from");
}

std::vector<StopToken> special_tokens(const GgufFile& file, const TokenList& tokens,
                                      ModelTexts& texts, nlohmann::ordered_json& config) {
  json generation = json::object(), names = json::object();
  // GGUF spells the separator so.
  for (const char* name : {"bos", "eos", "unknown", "padding", "seperator", "cls", "mask"}) {
    const std::optional<int64_t> id = special_id(file, name, tokens);
    if (!id) continue;
    const std::string shorter =
        std::string(name) == "mask" ? "mask" : std::string(name).substr(0, 3);
    names[shorter + "_token"] = std::string(tokens.texts[static_cast<size_t>(*id)]);
    if (shorter == "bos" || shorter == "eos") {
      config[shorter + "_token_id"] = *id;
      generation[shorter + "_token_id"] = *id;
    }
  }
  // Instruction-tuned models end a turn with other tokens too.
  json ends = json::array();
  std::vector<StopToken> stops;
  for (const char* name : {"eos", "eot", "eom"})
    if (const std::optional<int64_t> id = special_id(file, name, tokens)) {
      if (std::find(ends.begin(), ends.end(), *id) == ends.end()) ends.push_back(*id);
      stops.push_back({.id = static_cast<int32_t>(*id),
                       .text = "",
                       .from = std::string("tokenizer.ggml.") + name + "_token_id"});
    }
  if (ends.size() > 1) generation["eos_token_id"] = ends;
  texts.generation_config = generation.dump();
  // A list without a default, as tokenizer_config.json would have it.
  if (!file.has("tokenizer.chat_template"))
    for (const std::string_view name : file.texts("tokenizer.chat_templates"))
      if (utf8::is_valid(name))
        names["chat_template"].push_back({{"name", std::string(name)}, {"template", ""}});
  texts.tokenizer_config = names.dump();
  return stops;
}

JsonDocument tokenizer_json(const GgufFile& file, const std::string& kind,
                            const TokenList& tokens) {
  if (kind != "gpt2" && kind != "llama")
    file.unsupported("key tokenizer.ggml.model is \"" + shown_name(kind) +
                     "\", klens reads gpt2 and llama; use the checkpoint that the file was made "
                     "from");
  refuse_unknown_settings(file);
  return kind == "gpt2" ? byte_level_bpe(file, tokens) : sentencepiece_bpe(file, tokens);
}

}  // namespace

std::vector<StopToken> gguf_tokenizer(const GgufFile& file, ModelTexts& texts,
                                      nlohmann::ordered_json& config) {
  const std::string kind = file.text("tokenizer.ggml.model", "");
  if (kind.empty() || kind == "none" || kind == "no_vocab") return {};
  texts.chat_template = file.text("tokenizer.chat_template", "");
  if (!utf8::is_valid(texts.chat_template))
    file.fail("key tokenizer.chat_template is not UTF-8" + std::string(kConvertAgain));
  const TokenList tokens = read_tokens(file);
  std::vector<StopToken> stops = special_tokens(file, tokens, texts, config);
  // A model whose text cannot be cut as it was trained on still has its weights: what is not
  // supported is told where text is needed.
  try {
    texts.tokenizer = tokenizer_json(file, kind, tokens)->dump();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    texts.tokenizer_problem = error.what();
  }
  return stops;
}

}  // namespace klens
