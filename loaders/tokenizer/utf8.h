#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace klens::utf8 {

// Length in bytes of the character at text[at]; the text must be valid UTF-8.
inline size_t length_at(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// Reads the character at text[at] and moves `at` behind it; the text must be valid UTF-8.
char32_t next(std::string_view text, size_t& at);

// Reads the character that ends at text[at] and moves `at` before it; at > 0, valid UTF-8.
char32_t previous(std::string_view text, size_t& at);

void append(std::string& out, char32_t c);
std::string encode(char32_t c);

bool is_valid(std::string_view text);

// How much of the front of `bytes` is decided: everything but a last character whose end is
// missing.
size_t decided_length(std::string_view bytes);

// Appends `bytes` to `out`; every maximal part that is not UTF-8 becomes one U+FFFD.
void append_lossy(std::string& out, std::string_view bytes);

}  // namespace klens::utf8
