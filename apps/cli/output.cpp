#include "apps/cli/output.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <vector>

#include "apps/cli/error.h"

namespace klens::apps {
namespace {

[[noreturn]] void fail() {
  throw Error(std::string("cannot write to standard output: ") + std::strerror(errno));
}

using nlohmann::ordered_json;

constexpr size_t kInlineWidth = 90;

// Indented, but lists of numbers and what fits into a line stay on one.
void write_json(const ordered_json& json, size_t indent, std::string& out) {
  const bool plain_list =
      json.is_array() && std::none_of(json.begin(), json.end(), [](const ordered_json& item) {
        return item.is_structured();
      });
  const std::string line = compact(json);
  if (!json.is_structured() || plain_list || (indent > 0 && line.size() <= kInlineWidth)) {
    out += line;
    return;
  }
  const std::string margin(indent + 2, ' ');
  out += json.is_array() ? "[" : "{";
  const char* separator = "\n";
  for (auto item = json.begin(); item != json.end(); ++item) {
    out += separator + margin;
    separator = ",\n";
    if (json.is_object()) out += compact(item.key()) + ": ";
    write_json(*item, indent + 2, out);
  }
  out += "\n" + std::string(indent, ' ') + (json.is_array() ? "]" : "}");
}

}  // namespace

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail();
}

void flush_output() {
  if (std::fflush(stdout) != 0) fail();
}

void close_output() {
  flush_output();
  // A standard output that was closed from the start has nothing to lose here.
  if (std::fclose(stdout) != 0 && errno != EBADF) fail();
}

void print_json(const nlohmann::ordered_json& json) {
  std::string text;
  write_json(json, 0, text);
  print(text + "\n");
  flush_output();
}

std::string compact(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void print_json_line(const nlohmann::ordered_json& json) { print(compact(json) + "\n"); }

std::string formatted(const char* format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::vector<char> text(static_cast<size_t>(length) + 1);
  std::vsnprintf(text.data(), text.size(), format, again);
  va_end(again);
  return std::string(text.data(), static_cast<size_t>(length));
}

std::string human_bytes(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0) return formatted("%.0f B", bytes);
  return formatted("%.*f %s", bytes < 10 ? 2 : 1, bytes, units[unit]);
}

std::string report_line(const std::string& label, const std::string& value) {
  return formatted("  %-18s %s\n", label.c_str(), value.c_str());
}

}  // namespace klens::apps
