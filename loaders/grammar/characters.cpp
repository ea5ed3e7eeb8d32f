#include "loaders/grammar/characters.h"

#include <algorithm>

#include "loaders/tokenizer/utf8.h"

namespace klens::grammar {
namespace {

// In order, disjoint, without neighbours.
Characters in_order(Characters set) {
  std::sort(set.begin(), set.end());
  Characters merged;
  for (const auto& range : set) {
    if (range.first > range.second) continue;
    if (!merged.empty() && range.first <= merged.back().second + 1)
      merged.back().second = std::max(merged.back().second, range.second);
    else
      merged.push_back(range);
  }
  return merged;
}

std::bitset<256> byte_range(size_t first, size_t last) {
  std::bitset<256> set;
  for (size_t byte = first; byte <= last; ++byte) set.set(byte);
  return set;
}

// Characters of one length in UTF-8, cut until every byte is a range of its own.
void add_range(Grammar& grammar, char32_t first, char32_t last, std::vector<NodeId>& out) {
  const std::string a = utf8::encode(first), b = utf8::encode(last);
  for (size_t tail = 1; tail < a.size(); ++tail) {
    const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      add_range(grammar, first, first | mask, out);
      return add_range(grammar, (first | mask) + 1, last, out);
    }
    if ((last & mask) != mask) {
      add_range(grammar, first, (last & ~mask) - 1, out);
      return add_range(grammar, last & ~mask, last, out);
    }
  }
  std::vector<NodeId> bytes;
  for (size_t i = 0; i < a.size(); ++i)
    bytes.push_back(
        grammar.bytes(byte_range(static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i]))));
  out.push_back(grammar.sequence(std::move(bytes)));
}

void add_characters(Grammar& grammar, const Characters& set, std::vector<NodeId>& out) {
  const Characters lengths = {
      {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, kLastCharacter}};
  for (const auto& [first, last] : common(in_order(set), lengths))
    add_range(grammar, first, last, out);
}

// Characters below a space, each with its escape.
std::string escape(char32_t c) {
  constexpr std::string_view kLetters = "btn\0fr";  // from backspace on
  if (c >= 8 && c <= 13 && c != 11) return {'\\', kLetters[c - 8]};
  constexpr std::string_view kDigits = "0123456789abcdef";
  return std::string("\\u00") + kDigits[c >> 4] + kDigits[c & 15];
}

}  // namespace

Characters complement(Characters set) {
  Characters rest;
  char32_t next = 0;
  for (const auto& [first, last] : in_order(std::move(set))) {
    if (first > next) rest.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLastCharacter) rest.emplace_back(next, kLastCharacter);
  return rest;
}

Characters common(const Characters& a, const Characters& b) {
  Characters both;
  // Pieces stay apart where `b` has them apart.
  for (const auto& [first, last] : a)
    for (const auto& [from, to] : b)
      if (std::max(first, from) <= std::min(last, to))
        both.emplace_back(std::max(first, from), std::min(last, to));
  return both;
}

NodeId character(Grammar& grammar, const Characters& set) {
  std::vector<NodeId> out;
  add_characters(grammar, set, out);
  return grammar.choice(std::move(out));
}

NodeId json_character(Grammar& grammar, const Characters& set) {
  std::vector<NodeId> out;
  add_characters(grammar, common(in_order(set), {{' ', '!'}, {'#', '['}, {']', kLastCharacter}}),
                 out);
  for (const auto& [first, last] : common(in_order(set), {{0, ' ' - 1}, {'"', '"'}, {'\\', '\\'}}))
    for (char32_t c = first; c <= last; ++c)
      out.push_back(grammar.text(c < ' ' ? escape(c) : std::string{'\\', static_cast<char>(c)}));
  return grammar.choice(std::move(out));
}

std::string json_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<uint8_t>(c) < ' ')
      out += escape(static_cast<uint8_t>(c));
    else if (c == '"' || c == '\\')
      out += {'\\', c};
    else
      out += c;
  }
  return out;
}

}  // namespace klens::grammar
