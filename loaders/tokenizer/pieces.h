#pragma once
#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/regex.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {

// A part of a text on its way to the model: still text, or already a token.
struct Piece {
  std::string_view text;
  // How many leading bytes of `text` come from the first character of the whole input; 0 unless the
  // piece begins there. Metaspace with prepend_scheme "first" asks whether this is 0. It is right
  // for a piece that a normalizer has changed as far as the first character tells.
  size_t lead = 0;
  int32_t id = -1;  // of an added token; -1: text
};

// A text under way: its pieces in order and the memory they look into.
class Pieces {
 public:
  explicit Pieces(const Deadline& deadline) : deadline_(deadline) {}

  std::vector<Piece> list;

  const Deadline& deadline() const { return deadline_; }
  std::string_view keep(std::string text) { return storage_.emplace_back(std::move(text)); }

  // Part [begin, end) of a piece of text.
  static Piece cut(const Piece& piece, size_t begin, size_t end) {
    return {piece.text.substr(begin, end - begin),
            std::min(piece.lead - std::min(begin, piece.lead), end - begin), -1};
  }

 private:
  Deadline deadline_;
  std::deque<std::string> storage_;  // a deque never moves what it holds
};

// The first character of a text, as the `lead` of its first piece.
inline size_t first_character(std::string_view text) {
  return text.empty() ? 0 : utf8::length_at(text, 0);
}

}  // namespace klens
