#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/terminal/style.h"

namespace klens::apps {

// A unit and what was chosen for it, as `plan`, `quantize` and `inspect` show it.
struct UnitRow {
  std::string name, kind;
  int64_t layer = -1;
  int64_t rows = 0, cols = 0;
  std::string format;
  int64_t bytes = 0;
  std::optional<double> kl;  // nats per token
};

// The layer of a unit of a report or profile, as the checkpoint counts them; below 0 before the
// first.
int64_t layer_of(const nlohmann::ordered_json& unit);

// A choice as options name it: with what activations have, where that is not 8 bits.
std::string format_at(const nlohmann::ordered_json& choice);

// From the "units" of a quantize or inspect report.
std::vector<UnitRow> rows_of_report(const nlohmann::ordered_json& units);
// A plan's choices, with what the profile says of each.
std::vector<UnitRow> rows_of_plan(const nlohmann::ordered_json& profile,
                                  const nlohmann::ordered_json& plan);

// What a map shows for one unit.
struct MapCell {
  std::string kind;
  int64_t layer = -1;
  std::string text;
  int background = 0;  // one of the 256 colours
};

// All of these are whole lines of at most 80 columns.

// One line per unit: shape, format, bytes, bits per weight, KL and its share. Above `most` units
// only those with the largest KL, and one line for the rest.
std::string unit_table(const std::vector<UnitRow>& rows, size_t most, const Style& style);
// One line per format: units, weights, bytes.
std::string format_table(const std::vector<UnitRow>& rows, const Style& style);
// Rows are layers as the checkpoint counts them, columns unit kinds; embedding and head stand above
// and below.
std::string block_map(const std::vector<MapCell>& cells, const Style& style);
std::vector<MapCell> format_cells(const std::vector<UnitRow>& rows);

}  // namespace klens::apps
