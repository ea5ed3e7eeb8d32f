#pragma once
#include <map>
#include <string>
#include <vector>

#include "loaders/checkpoint.h"

namespace klens::testing {

// The checkpoint with its matrices cut anew, whatever they were: rows follow each other.
inline Checkpoint cut(Checkpoint checkpoint, const std::vector<int64_t>& at) {
  ModelSpec& spec = checkpoint.spec;
  const ModelSpec before = spec;
  for (MatrixSpec& matrix : spec.matrices) {
    matrix.cuts.clear();
    for (const int64_t row : at)
      if (row < matrix.rows) matrix.cuts.push_back(row);
  }
  make_units(spec);
  std::map<std::string, StoredUnit> units;
  for (const LinearSpec& unit : spec.units) {
    const MatrixSpec& old = before.matrices[unit.matrix];
    StoredUnit stored = checkpoint.units.at(before.units[old.first_unit].name);
    const int64_t row = unit.first_row - old.first_row;
    stored.view.rows = old.rows;
    stored.view = from_tile(stored.view, row / kTileOutputs);
    stored.view.rows = unit.rows;
    stored.bytes =
        static_cast<size_t>(unit.rows * unit.cols * row_layout_bytes(stored.view.layout));
    units[unit.name] = stored;
  }
  checkpoint.units = std::move(units);
  return checkpoint;
}

}  // namespace klens::testing
