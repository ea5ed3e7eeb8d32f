#include "loaders/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "loaders/tokenizer/unicode.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using nlohmann::json;

// Looking for a token takes time proportional to its length at every place of a text.
constexpr size_t kLongestContent = 1024;

AddedToken read_token(const json& value, const std::string& where) {
  Fields fields(value, where);
  AddedToken token;
  token.content = fields.text("content");
  token.id = token_id_of(fields.need("id"), where, token.content);
  token.single_word = fields.flag("single_word", false);
  token.lstrip = fields.flag("lstrip", false);
  token.rstrip = fields.flag("rstrip", false);
  token.special = fields.flag("special", false);
  token.normalized = fields.flag("normalized", !token.special);
  fields.done();
  if (token.content.size() > kLongestContent)
    fields.bad("has a token longer than " + std::to_string(kLongestContent) + " bytes");
  token.spelled = token.content;
  return token;
}

bool same_rules(const AddedToken& a, const AddedToken& b) {
  return a.single_word == b.single_word && a.lstrip == b.lstrip && a.rstrip == b.rstrip &&
         a.normalized == b.normalized && a.special == b.special;
}

}  // namespace

AddedTokens::AddedTokens(const json* value, const std::string& where, const Normalizer* normalizer,
                         const std::function<std::optional<int32_t>(std::string_view)>& model_id,
                         int64_t model_size) {
  if (!value || value->is_null()) return;
  if (!value->is_array()) throw Error(ErrorKind::kBadFile, where + " is not a list");
  std::unordered_map<int32_t, std::string> given;  // ids as the file has them
  int64_t next_id = model_size;
  for (const json& item : *value) {
    AddedToken token = read_token(item, where);
    const auto [other, fresh] = given.try_emplace(token.id, token.content);
    if (!fresh && other->second != token.content)
      throw Error(ErrorKind::kBadFile, where + ": \"" + other->second + "\" and \"" +
                                           token.content + "\" have the same id " +
                                           std::to_string(token.id));
    if (token.content.empty()) continue;
    const std::optional<int32_t> known = id_of(token.content);
    if (known && same_rules(by_id_.at(*known), token)) continue;
    if (known) {
      token.id = *known;
    } else if (const std::optional<int32_t> id = model_id(token.content)) {
      token.id = *id;
    } else {
      if (next_id > kMaxTokenId)
        throw Error(ErrorKind::kBadFile,
                    where + ": more tokens than " + std::to_string(kMaxTokenId));
      token.id = static_cast<int32_t>(next_id++);
    }
    if (token.normalized && normalizer) {
      size_t lead = 0;
      normalizer->apply(token.spelled, lead, Deadline::for_bytes(token.spelled.size()));
    }
    ids_[token.content] = token.id;
    if (token.special) special_.insert(token.content);
    largest_id_ = std::max(largest_id_, token.id);
    by_id_.insert_or_assign(token.id, std::move(token));
  }
  for (const auto& [id, token] : by_id_)
    (token.normalized ? normalized_ : raw_).sorted.push_back({token.spelled, id});
  raw_.build(where);
  normalized_.build(where);
}

void AddedTokens::Finder::build(const std::string& where) {
  // Of tokens that the normalizer makes equal the package finds any; here it is the one with the
  // lowest id.
  std::sort(sorted.begin(), sorted.end(), [](const Entry& a, const Entry& b) {
    return a.text != b.text ? a.text < b.text : a.id < b.id;
  });
  const auto same = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  sorted.erase(std::unique(sorted.begin(), sorted.end(), same), sorted.end());
  for (const Entry& entry : sorted) {
    if (entry.text.empty())
      throw Error(ErrorKind::kBadFile, where +
                                           ": the normalizer leaves nothing of the token with id " +
                                           std::to_string(entry.id));
    first_bytes.set(static_cast<unsigned char>(entry.text[0]));
  }
}

const AddedTokens::Finder::Entry* AddedTokens::Finder::longest_at(std::string_view text,
                                                                  size_t at) const {
  const Entry* found = nullptr;
  auto low = sorted.begin(), high = sorted.end();
  // Narrows to the tokens that begin with the bytes read so far; the shortest of them comes first.
  for (size_t depth = 0; low != high && at + depth < text.size(); ++depth) {
    const auto byte = static_cast<unsigned char>(text[at + depth]);
    const auto byte_of = [depth](const Entry& e) {
      return e.text.size() > depth ? static_cast<int>(static_cast<unsigned char>(e.text[depth]))
                                   : -1;
    };
    low = std::partition_point(low, high, [&](const Entry& e) { return byte_of(e) < byte; });
    high = std::partition_point(low, high, [&](const Entry& e) { return byte_of(e) <= byte; });
    if (low != high && low->text.size() == depth + 1) found = &*low;
  }
  return found;
}

void AddedTokens::split(const Finder& finder, const Piece& piece, std::vector<Piece>& out) const {
  const std::string_view text = piece.text;
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    const Finder::Entry* entry = finder.first_bytes.test(static_cast<unsigned char>(text[at]))
                                     ? finder.longest_at(text, at)
                                     : nullptr;
    if (!entry) {
      ++at;
      continue;
    }
    const AddedToken& token = by_id_.at(entry->id);
    size_t begin = at, end = at + entry->text.size();
    at = end;  // even if it turns out not to count
    if (token.single_word) {
      size_t before = begin, after = end;
      if (before > 0 && unicode::is_word(utf8::previous(text, before))) continue;
      if (after < text.size() && unicode::is_word(utf8::next(text, after))) continue;
    }
    if (token.lstrip) {
      for (size_t before = begin; before > covered;) {
        if (!unicode::is_space(utf8::previous(text, before))) break;
        begin = before;
      }
      begin = std::max(begin, covered);
    }
    if (token.rstrip)
      for (size_t after = end; after < text.size();) {
        if (!unicode::is_space(utf8::next(text, after))) break;
        end = after;
      }
    if (covered < begin) out.push_back(Pieces::cut(piece, covered, begin));
    // One token that strips may have taken all of another; then there is only the first.
    if (begin < end) out.push_back({{}, 0, token.id});
    // A token before this one may have taken white space that this one consists of; then what is
    // covered goes back, as in the package.
    covered = end;
  }
  if (covered != text.size()) out.push_back(Pieces::cut(piece, covered, text.size()));
}

void AddedTokens::extract(std::string_view text, const Normalizer* normalizer,
                          Pieces& pieces) const {
  std::vector<Piece> raw;
  const Piece whole{text, first_character(text), -1};
  if (!text.empty()) split(raw_, whole, raw);
  for (Piece& piece : raw) {
    if (piece.id >= 0) {
      pieces.list.push_back(piece);
      continue;
    }
    if (normalizer) {
      std::string normalized(piece.text);
      normalizer->apply(normalized, piece.lead, pieces.deadline());
      piece.text = pieces.keep(std::move(normalized));
    }
    if (!piece.text.empty()) split(normalized_, piece, pieces.list);
  }
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &it->second;
}

std::optional<int32_t> AddedTokens::id_of(std::string_view content) const {
  const auto it = ids_.find(std::string(content));
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

bool AddedTokens::is_special(std::string_view content) const {
  return special_.contains(std::string(content));
}

}  // namespace klens
