#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace klens::apps {

// The whole file; "-" is standard input. Throws Error.
std::string read_file(const std::string& path);
// Token ids: decimal numbers between white space, each from 0 to vocab - 1, at least one. Throws
// Error with the place of the first that is not.
std::vector<int32_t> read_ids(const std::string& path, int32_t vocab);
// Writes a temporary file beside path and renames it: path is whole or untouched. Throws Error.
void write_file(const std::string& path, std::string_view content);
// Throws Error if no file can be written at path: better before a long job than after it.
void check_writable(const std::string& path);

}  // namespace klens::apps
