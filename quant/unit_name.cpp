#include "quant/unit_name.h"

#include <charconv>

namespace klens {
namespace {

// A whole number from 0 to 2^50, written as std::to_string would.
std::optional<int64_t> parse_row(std::string_view text) {
  int64_t row = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), row);
  if (error != std::errc() || end != text.data() + text.size() || row < 0 ||
      row > int64_t{1} << 50 || std::to_string(row) != text)
    return std::nullopt;
  return row;
}

}  // namespace

std::string text_of(const UnitName& name) {
  if (!name.rows) return name.matrix;
  return name.matrix + "[" + std::to_string(name.rows->first) + ":" +
         std::to_string(name.rows->end) + "]";
}

std::optional<UnitName> parse_unit_name(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (text.back() != ']') return UnitName{std::string(text), std::nullopt};
  const size_t open = text.rfind('[');
  if (open == std::string_view::npos || open == 0) return std::nullopt;
  const std::string_view range = text.substr(open + 1, text.size() - open - 2);
  const size_t colon = range.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto first = parse_row(range.substr(0, colon)), end = parse_row(range.substr(colon + 1));
  if (!first || !end || *first >= *end) return std::nullopt;
  return UnitName{std::string(text.substr(0, open)), RowRange{*first, *end}};
}

}  // namespace klens
