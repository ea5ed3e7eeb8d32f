#include "loaders/tokenizer/utf8.h"

namespace klens::utf8 {
namespace {

struct Step {
  size_t length;  // bytes to move on
  bool valid;
  bool cut_short;  // the text ends inside a character that was valid so far
};

unsigned byte_at(std::string_view s, size_t i) { return static_cast<unsigned char>(s[i]); }

// One character, or one maximal invalid part, from s[at] (Unicode 16, table 3-7, and section 3.9 on
// U+FFFD substitution of maximal subparts).
Step step(std::string_view s, size_t at) {
  const unsigned lead = byte_at(s, at);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (at + i == s.size()) return {i, false, true};
    const unsigned b = byte_at(s, at + i);
    if (b < low || b > high) return {i, false, false};
    low = 0x80, high = 0xBF;
  }
  return {length, true, false};
}

}  // namespace

char32_t next(std::string_view text, size_t& at) {
  const unsigned lead = byte_at(text, at);
  const size_t length = length_at(text, at);
  char32_t c = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) c = c << 6 | (byte_at(text, at + i) & 0x3F);
  at += length;
  return c;
}

char32_t previous(std::string_view text, size_t& at) {
  do --at;
  while ((byte_at(text, at) & 0xC0) == 0x80);
  size_t i = at;
  return next(text, i);
}

void append(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

std::string encode(char32_t c) {
  std::string out;
  append(out, c);
  return out;
}

bool is_valid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Step s = step(text, at);
    if (!s.valid) return false;
    at += s.length;
  }
  return true;
}

size_t decided_length(std::string_view bytes) {
  // A character has at most three bytes before its last, so only these can be the start of one cut
  // short.
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const size_t at = bytes.size() - back;
    if ((byte_at(bytes, at) & 0xC0) == 0x80) continue;
    return step(bytes, at).cut_short ? at : bytes.size();
  }
  return bytes.size();
}

void append_lossy(std::string& out, std::string_view bytes) {
  size_t copied = 0;
  for (size_t at = 0; at < bytes.size();) {
    const Step s = step(bytes, at);
    if (!s.valid) {
      out.append(bytes, copied, at - copied);
      append(out, 0xFFFD);
      copied = at + s.length;
    }
    at += s.length;
  }
  out.append(bytes, copied, bytes.size() - copied);
}

}  // namespace klens::utf8
