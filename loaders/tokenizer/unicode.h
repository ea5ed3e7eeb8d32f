#pragma once
#include <string>
#include <string_view>

// Character properties as the `tokenizers` package sees them, whatever the Unicode version of the
// libraries underneath.
namespace klens::unicode {

bool is_space(char32_t c);        // White_Space
bool is_numeric(char32_t c);      // categories Nd, Nl, No
bool is_word(char32_t c);         // \w of Rust's regex crate
bool is_punctuation(char32_t c);  // as the Punctuation pre-tokenizer sees it

// Appends the lower-case form of c, without regard to its neighbours.
void append_lower(std::string& out, char32_t c);

enum class Form { kNfc, kNfd, kNfkc, kNfkd };

// `text` must be valid UTF-8. Takes time proportional to its length times a logarithm, whatever it
// holds.
std::string normalize(std::string_view text, Form form);

// Whether a character of `text` (valid UTF-8) is younger than PCRE2's tables, or classed otherwise
// there.
bool has_new_characters(std::string_view text);

}  // namespace klens::unicode
