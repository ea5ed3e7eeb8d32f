#include "apps/cli/output.h"

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
  print(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  flush_output();
}

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
