#pragma once
#include <string>
#include <vector>

#include "loaders/tokenizer/fields.h"
#include "loaders/tokenizer/pieces.h"
#include "loaders/tokenizer/regex.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {

// What becomes of a delimiter, as the member "behavior" of a Split or Punctuation says.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
Behavior read_behavior(Fields& fields, std::optional<Behavior> otherwise = {});

// Turns matches and what lies between into the parts to keep, in place.
void apply_behavior(std::vector<Match>& matches, Behavior behavior);

// Splits every piece of text at the matches that `find(piece text, matches)` puts into its second
// argument.
template <typename Find>
void split_pieces(Pieces& pieces, Behavior behavior, const Find& find) {
  std::vector<Piece> list;
  list.reserve(pieces.list.size());
  std::vector<Match> matches;
  for (const Piece& piece : pieces.list) {
    if (piece.id >= 0) {
      list.push_back(piece);
      continue;
    }
    find(piece.text, matches);
    apply_behavior(matches, behavior);
    for (const Match& m : matches)
      if (m.begin != m.end) list.push_back(Pieces::cut(piece, m.begin, m.end));
  }
  pieces.list = std::move(list);
}

// Finds single characters, for split_pieces.
template <typename Predicate>
auto characters(const Predicate& is_match) {
  return [is_match](std::string_view text, std::vector<Match>& out) {
    out.clear();
    size_t covered = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if (!is_match(utf8::next(text, at))) continue;
      if (covered < begin) out.push_back({covered, begin, false});
      out.push_back({begin, at, true});
      covered = at;
    }
    if (covered < text.size()) out.push_back({covered, text.size(), false});
  };
}

}  // namespace klens
