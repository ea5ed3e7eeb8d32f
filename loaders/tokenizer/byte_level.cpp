#include "loaders/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "loaders/tokenizer/utf8.h"

namespace klens::byte_level {
namespace {

constexpr char32_t kAlphabetEnd = 0x144;

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};  // -1: not in the alphabet

  constexpr Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable =
          (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
      character[b] = printable ? b : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};

constexpr Alphabet kAlphabet;

}  // namespace

size_t spelled_length(std::string_view bytes) {
  size_t length = 0;
  for (char b : bytes) length += kAlphabet.character[static_cast<unsigned char>(b)] < 0x80 ? 1 : 2;
  return length;
}

void append_spelled(std::string& out, std::string_view bytes) {
  for (char b : bytes) utf8::append(out, kAlphabet.character[static_cast<unsigned char>(b)]);
}

void append_bytes(std::string& out, std::string_view text) {
  const size_t begin = out.size();
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8::next(text, at);
    if (c >= kAlphabetEnd || kAlphabet.byte[c] < 0) {
      out.resize(begin);
      out += text;
      return;
    }
    out += static_cast<char>(kAlphabet.byte[c]);
  }
}

}  // namespace klens::byte_level
