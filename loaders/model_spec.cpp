#include "loaders/model_spec.h"

#include "quant/unit_name.h"

namespace klens {

void make_units(ModelSpec& spec) {
  spec.units.clear();
  for (size_t m = 0; m < spec.matrices.size(); ++m) {
    MatrixSpec& matrix = spec.matrices[m];
    matrix.first_unit = spec.units.size();
    matrix.units = matrix.cuts.size() + 1;
    int64_t first = 0;
    for (size_t part = 0; part < matrix.units; ++part) {
      const int64_t end = part < matrix.cuts.size() ? matrix.cuts[part] : matrix.rows;
      UnitName name{matrix.name, std::nullopt};
      if (matrix.units > 1) name.rows = {first, end};
      spec.units.push_back({.name = text_of(name),
                            .matrix = m,
                            .tensor = matrix.tensor,
                            .kind = matrix.kind,
                            .rows = end - first,
                            .cols = matrix.cols,
                            .block = matrix.block,
                            .first_row = matrix.first_row + first,
                            .tensor_shape = matrix.tensor_shape.empty()
                                                ? std::vector<int64_t>{matrix.rows, matrix.cols}
                                                : matrix.tensor_shape});
      first = end;
    }
  }
}

}  // namespace klens
