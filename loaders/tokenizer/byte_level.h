#pragma once
#include <string>
#include <string_view>

// GPT-2's alphabet: each byte has a printable character of its own, so that any bytes can be
// written as text without spaces or controls.
namespace klens::byte_level {

// Length of `bytes` spelled in the alphabet, and the spelling.
size_t spelled_length(std::string_view bytes);
void append_spelled(std::string& out, std::string_view bytes);

// Appends the bytes that `text` spells; if a character of it is not in the alphabet, `text` itself.
void append_bytes(std::string& out, std::string_view text);

}  // namespace klens::byte_level
