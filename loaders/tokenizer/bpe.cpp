#include "loaders/tokenizer/bpe.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/error.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using nlohmann::json;

constexpr std::string_view kMetaspace = "\u2581";
constexpr size_t kLongestCached = 256;

bool only_metaspaces(std::string_view text) {
  while (text.starts_with(kMetaspace)) text.remove_prefix(kMetaspace.size());
  return text.empty();
}

// Whether `text` has a metaspace behind something else.
bool crosses_metaspace(std::string_view text) {
  while (text.starts_with(kMetaspace)) text.remove_prefix(kMetaspace.size());
  return text.find(kMetaspace) != text.npos;
}

std::pair<std::string_view, std::string_view> read_pair(const json& merge,
                                                        const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  if (merge.is_string()) {
    const std::string_view both = merge.get_ref<const std::string&>();
    const size_t space = both.find(' ');
    if (space != both.npos && both.find(' ', space + 1) == both.npos)
      return {both.substr(0, space), both.substr(space + 1)};
  }
  throw Error(ErrorKind::kBadFile, where + ": a merge is neither \"a b\" nor [\"a\", \"b\"]");
}

}  // namespace

Bpe::Bpe(const json& model, const std::string& where) : where_(where) {
  Fields fields(model, where);
  // The oldest files do not name the type.
  const std::string type = fields.text("type", "BPE");
  if (type != "BPE") fields.unknown_type(type, "BPE");
  if (const json* dropout = fields.find("dropout"))
    if (!dropout->is_number() || dropout->get<double>() != 0)
      fields.bad("has a dropout, which makes tokens random; set it to null");
  unk_token_ = fields.text("unk_token", "");
  has_unk_ = fields.find("unk_token") != nullptr;
  prefix_ = fields.text("continuing_subword_prefix", "");
  suffix_ = fields.text("end_of_word_suffix", "");
  fuse_unk_ = fields.flag("fuse_unk", false);
  byte_fallback_ = fields.flag("byte_fallback", false);
  ignore_merges_ = fields.flag("ignore_merges", false);
  constexpr size_t kLongestAffix = 1024;
  if (prefix_.size() > kLongestAffix || suffix_.size() > kLongestAffix)
    fields.bad("has a prefix or suffix longer than 1024 bytes");

  vocabulary_ = std::make_unique<Vocabulary>(fields.need("vocab"), where + ": vocab");
  const json& merges = fields.list("merges");
  fields.done();
  if (has_unk_) unk_id_ = vocabulary_->find(unk_token_);
  for (unsigned b = 0; b < byte_ids_.size(); ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    byte_ids_[b] = vocabulary_->find(name).value_or(-1);
  }
  for (char32_t c = 0; c < low_ids_.size(); ++c)
    low_ids_[c] = vocabulary_->find(utf8::encode(c)).value_or(-1);
  parts_at_metaspace_ = prefix_.empty() && suffix_.empty() && vocabulary_->find(kMetaspace);
  read_merges(merges, where);
}

void Bpe::read_merges(const json& merges, const std::string& where) {
  merges_ = std::make_unique<MergeTable>(merges.size());
  const auto need = [&](const std::string& token) {
    const std::optional<int32_t> id = vocabulary_->find(token);
    if (!id)
      throw Error(ErrorKind::kBadFile,
                  where + ": the merges name \"" + token + "\", which is not in the vocabulary");
    return *id;
  };
  uint32_t rank = 0;
  for (const json& merge : merges) {
    // The first line of a merges.txt that was copied into the list.
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    const auto [left, right] = read_pair(merge, where);
    if (right.size() < prefix_.size())
      throw Error(ErrorKind::kBadFile, where + ": the merges continue a word with \"" +
                                           std::string(right) + "\", which lacks the prefix \"" +
                                           prefix_ + "\"");
    const std::string whole = std::string(left) + std::string(right.substr(prefix_.size()));
    const int32_t left_id = need(std::string(left)), right_id = need(std::string(right));
    merges_->set(left_id, right_id, {rank++, need(whole)});
    if (crosses_metaspace(whole) || (right.starts_with(kMetaspace) && !only_metaspaces(left)))
      parts_at_metaspace_ = false;
  }
}

void Bpe::encode(std::string_view word, Cache& cache, std::vector<int32_t>& out) const {
  if (word.empty()) return;
  if (ignore_merges_)
    if (const std::optional<int32_t> id = vocabulary_->find(word)) {
      out.push_back(*id);
      return;
    }
  if (!parts_at_metaspace_) return encode_part(word, cache, out);
  // A part is a run of metaspaces and what follows it up to the next run.
  for (size_t begin = 0; begin < word.size();) {
    size_t end = begin;
    while (word.substr(end).starts_with(kMetaspace)) end += kMetaspace.size();
    end = std::min(word.find(kMetaspace, end), word.size());
    encode_part(word.substr(begin, end - begin), cache, out);
    begin = end;
  }
}

void Bpe::encode_part(std::string_view part, Cache& cache, std::vector<int32_t>& out) const {
  if (part.size() > kLongestCached) return merge_word(part, out);
  const auto [it, fresh] = cache.words.try_emplace(part);
  if (fresh) {
    const size_t begin = cache.ids.size();
    merge_word(part, cache.ids);
    it->second = {static_cast<uint32_t>(begin), static_cast<uint32_t>(cache.ids.size() - begin)};
  }
  const auto ids = cache.ids.begin() + it->second.begin;
  out.insert(out.end(), ids, ids + it->second.count);
}

std::optional<int32_t> Bpe::character_id(std::string_view character) const {
  size_t at = 0;
  const char32_t c = utf8::next(character, at);
  if (c >= low_ids_.size() || at != character.size()) return vocabulary_->find(character);
  if (low_ids_[c] < 0) return std::nullopt;
  return low_ids_[c];
}

bool Bpe::add_bytes(std::string_view piece, std::vector<Symbol>& symbols) const {
  for (char b : piece)
    if (byte_ids_[static_cast<unsigned char>(b)] < 0) return false;
  for (char b : piece) symbols.push_back({byte_ids_[static_cast<unsigned char>(b)], -1, -1});
  return true;
}

void Bpe::merge_word(std::string_view word, std::vector<int32_t>& out) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  bool unk_pending = false;
  std::string spelled;
  for (size_t at = 0; at < word.size();) {
    const size_t begin = at;
    at += utf8::length_at(word, at);
    std::string_view character = word.substr(begin, at - begin);
    const bool with_prefix = begin > 0 && !prefix_.empty();
    const bool with_suffix = at == word.size() && !suffix_.empty();
    if (with_prefix || with_suffix) {
      spelled =
          (with_prefix ? prefix_ : "") + std::string(character) + (with_suffix ? suffix_ : "");
      character = spelled;
    }
    if (const std::optional<int32_t> id = character_id(character)) {
      if (unk_pending) symbols.push_back({*unk_id_, -1, -1});
      unk_pending = false;
      symbols.push_back({*id, -1, -1});
      continue;
    }
    // As in the package an unknown token that is pending comes behind these bytes, not before.
    if (byte_fallback_ && add_bytes(character, symbols)) continue;
    if (!has_unk_) continue;
    if (!unk_id_)
      throw Error(ErrorKind::kBadFile, where_ + ": the text needs the unknown token \"" +
                                           unk_token_ +
                                           "\", which is not in the vocabulary; add it");
    if (unk_pending && !fuse_unk_) symbols.push_back({*unk_id_, -1, -1});
    unk_pending = true;
  }
  if (unk_pending) symbols.push_back({*unk_id_, -1, -1});
  merge_all(*merges_, symbols);
  for (const Symbol& s : symbols)
    if (!s.gone) out.push_back(s.id);
}

}  // namespace klens
