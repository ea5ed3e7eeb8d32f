#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Python's methods of texts, on valid UTF-8. Positions and lengths count characters.
namespace klens::jinja {

bool is_space(char32_t c);
bool is_printable(char32_t c);  // as repr() has it, which shows U+0020 alone of all spaces

// Length in bytes of the white space at the begin and at the end.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

int64_t length(std::string_view text);
std::vector<std::string> characters(std::string_view text);

// Strips white space, or, if `strip_set` is not null, the characters in it.
std::string strip(std::string_view text, const std::string* strip_set, bool left, bool right);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalized(std::string_view text);  // the first upper, the rest lower
std::string titled(
    std::string_view text);  // as the method title(): letters behind what is no letter

std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     int64_t most);
std::vector<std::string> split(std::string_view text, int64_t most,
                               bool from_right);  // at white space
std::vector<std::string> split_at(std::string_view text, std::string_view separator, int64_t most,
                                  bool from_right);
std::vector<std::string> lines(std::string_view text, bool with_ends = false);

// At least `width` characters, filled up with `fill` at its end '<', its begin '>' or both '^'.
std::string padded_to(std::string_view text, int64_t width, const std::string& fill, char side);

}  // namespace klens::jinja
