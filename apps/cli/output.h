#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace klens::apps {

// Standard output. A write that fails (a closed pipe, a full disk) is an Error: a truncated result
// must not look like a success.
void print(std::string_view text);
void flush_output();
void close_output();  // the last call: reports what only closing reveals
// One JSON object and a newline; invalid UTF-8 is replaced.
void print_json(const nlohmann::ordered_json& json);
// One JSON object on one line, not flushed.
void print_json_line(const nlohmann::ordered_json& json);

// JSON on one line, invalid UTF-8 replaced.
std::string compact(const nlohmann::ordered_json& json);

// Columns of what is laid out for people.
inline constexpr size_t kLineColumns = 80;

// printf into a string.
__attribute__((format(printf, 1, 2))) std::string formatted(const char* format, ...);
// "1.32 MiB", "812 B"
std::string human_bytes(double bytes);
// "  label            value\n", the lines of a report.
std::string report_line(const std::string& label, const std::string& value);

}  // namespace klens::apps
