#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace klens {

// Rows first to end - 1.
struct RowRange {
  int64_t first = 0, end = 0;
  bool operator==(const RowRange&) const = default;
};

// A unit is a matrix of the model and a range of its rows. Its name, in profiles, plans and model
// files, is the matrix's name where it has all rows, else "MATRIX[FIRST:END]":
// "backbone.layers.0.mixer.in_proj[0:1536]". Whatever else ends in brackets is no unit's name.
struct UnitName {
  std::string matrix;
  std::optional<RowRange> rows;  // none: all
  bool operator==(const UnitName&) const = default;
};

std::string text_of(const UnitName& name);

// None for what is no unit's name: an empty or reversed range, a number that is not one.
std::optional<UnitName> parse_unit_name(std::string_view text);

}  // namespace klens
