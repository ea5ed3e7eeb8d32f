#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace klens::apps {

// The first character of text, which becomes what follows it. A byte that begins no UTF-8 sequence
// is U+FFFD. text is not empty.
char32_t next_character(std::string_view& text);
// Appends c as UTF-8; what is no Unicode scalar value as U+FFFD.
void append_utf8(std::string& text, char32_t c);

bool is_utf8(std::string_view text);

// Columns that text takes on a terminal: wide characters two, combining ones none, escape sequences
// (CSI: colours, clearing) none. Control characters count one.
size_t columns_of(std::string_view text);
// As much of text as fits into `columns`: whole characters, and every escape sequence, so that a
// colour that was switched on is switched off. Control characters become spaces: one line.
std::string cut_to_columns(std::string_view text, size_t columns);

}  // namespace klens::apps
