// Every tensor of every golden is read, and by nothing but its spec.
#include <catch2/catch.hpp>
#include <map>

#include "loaders/checkpoint.h"
#include "tests/loaders/architectures.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens::testing {
namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

// The tensors a spec reads; of a stack, all matrices must be read.
Shapes tensors_of(const ModelSpec& spec) {
  Shapes shapes;
  std::map<std::string, int64_t> rows_read;
  for (const LinearSpec& unit : spec.units) {
    const std::vector<int64_t> own = {unit.rows, unit.cols};
    shapes[unit.tensor] = unit.tensor_shape.empty() ? own : unit.tensor_shape;
    CHECK(rows_read[unit.tensor] == unit.first_row);
    rows_read[unit.tensor] += unit.rows;
  }
  for (const auto& [tensor, rows] : rows_read) {
    int64_t all = 1;
    const std::vector<int64_t>& shape = shapes.at(tensor);
    for (size_t i = 0; i + 1 < shape.size(); ++i) all *= shape[i];
    CHECK(rows == all);
  }
  for (const SmallSpec& small : spec.smalls)
    CHECK(shapes.emplace(small.tensor, small.shape).second);
  return shapes;
}

}  // namespace

TEST_CASE("the spec of a golden reads all its tensors and no others", "[architectures]") {
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const std::string folder = data_path("goldens/" + name);
    const SafetensorsFile file = SafetensorsFile::open(folder + "/model.safetensors");
    Shapes held;
    std::vector<std::string> names;
    int64_t parameters = 0;
    for (const auto& [tensor, view] : file.tensors()) {
      held[tensor] = view.shape;
      names.push_back(tensor);
      parameters += view.elements();
    }
    const ModelSpec spec = build(read_bytes(folder + "/config.json"), names);
    CHECK(tensors_of(spec) == held);
    CHECK(spec.parameters() == parameters);
    CHECK(read_checkpoint_folder(folder).units.size() == spec.units.size());
  }
}

TEST_CASE("units have names of their own and kinds, and lie in the order of execution",
          "[architectures]") {
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const ModelSpec spec = read_checkpoint_folder(data_path("goldens/" + name)).spec;
    std::map<std::string, int> seen;
    int64_t block = -1;
    for (const LinearSpec& unit : spec.units) {
      CAPTURE(unit.name);
      CHECK(seen[unit.name]++ == 0);
      CHECK(unit.kind.find_first_not_of("0123456789") != std::string::npos);
      CHECK(unit.block >= block);
      block = unit.block;
    }
    CHECK(spec.head + 1 == spec.matrices.size());
    CHECK(spec.matrices[spec.head].block == static_cast<int64_t>(spec.blocks.size()));
    for (const KvCacheSpec& cache : spec.caches) {
      CHECK(cache.first_block <= cache.last_block);
      CHECK(cache.last_block < static_cast<int64_t>(spec.blocks.size()));
    }
  }
}

}  // namespace klens::testing
