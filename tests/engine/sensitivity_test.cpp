// SensiBoost's activation sensitivity, against passes of the whole model.
#include "engine/jobs/sensitivity.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/students.h"
#include "quant/quantizers/hqq.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

const Windows kEightWindows = {{1, 2, 3, 5, 8, 13, 21, 34}, {90, 80, 70, 60, 50, 40, 30, 20}};

// The weights that units become by 4 bits in groups of 64, as floats.
struct FourBits {
  std::vector<std::vector<float>> values;
  std::vector<Weight> weights;

  FourBits(const Model& model, const std::vector<size_t>& units) : weights(model.weights()) {
    Format format = *find_format("int4ag32");
    format.group = 64;
    for (const size_t unit : units) {
      const WeightView& source = model.checkpoint().units.at(model.units()[unit].name).view;
      const PackedWeight packed = quantize_hqq(format, source, {});
      std::vector<float>& rows =
          values.emplace_back(static_cast<size_t>(source.rows * source.cols));
      for (int64_t r = 0; r < source.rows; ++r)
        expand_row(packed.view(), r, rows.data() + r * source.cols);
      const WeightView view{.layout = Layout::kRowsF32,
                            .rows = source.rows,
                            .cols = source.cols,
                            .data = rows.data()};
      weights[unit] = make_weight(view, nullptr, 8, model);
    }
  }
};

// What every block puts out: [blocks][rows * width], by a pass of the whole model.
std::vector<std::vector<float>> outputs(const Model& model, const std::vector<Weight>& weights,
                                        const std::vector<int32_t>& ids) {
  std::vector<std::vector<float>> blocks;
  model.device().run([&](Lane& lane) {
    const Lane::Frame frame(lane);
    const auto rows = model.prefix_rows() + static_cast<int64_t>(ids.size());
    SequenceState state = model.transient_state();
    const Sequence sequence{
        .state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows};
    KeptPass kept;
    make_room(model, rows, kept);
    model.run({.ids = ids, .sequences = {&sequence, 1}, .weights = weights, .keep = &kept},
              lane.take(rows, model.spec().d_model), lane);
    for (size_t b = 1; b < kept.inputs.size(); ++b) {
      const Rows own = kept.inputs[b].rows(model.prefix_rows(), static_cast<int64_t>(ids.size()));
      const float* values = lane.host(own);
      blocks.emplace_back(values, values + own.count() * own.width());
    }
  });
  return blocks;
}

// Of units of one block, the long way.
double expected(const Model& model, const std::vector<size_t>& units) {
  const FourBits changed(model, units);
  const auto block = static_cast<size_t>(model.units()[units.front()].block);
  double mean = 0;
  for (const std::vector<int32_t>& window : kEightWindows) {
    const auto was = outputs(model, model.weights(), window)[block],
               is = outputs(model, changed.weights, window)[block];
    double sum = 0;
    for (size_t i = 0; i < was.size(); ++i) sum += std::pow(double{is[i]} - double{was[i]}, 2);
    mean += sum / static_cast<double>(was.size()) / static_cast<double>(kEightWindows.size());
  }
  const double scale = model.spec().blocks[block].residual_scale;
  return mean / (scale * scale);
}

std::vector<std::optional<double>> measured(const Model& model, Journal& journal) {
  Progress progress(nullptr);
  return measure_sensitivity(model, kEightWindows, int64_t{1} << 20, progress, journal);
}

std::vector<size_t> units_of_kind(const Model& model, int64_t block, const std::string& kind) {
  std::vector<size_t> units;
  for (size_t u = 0; u < model.units().size(); ++u)
    if (model.units()[u].block == block && model.units()[u].kind == kind) units.push_back(u);
  return units;
}

}  // namespace

TEST_CASE("a unit's sensitivity is what its block's outputs lose by it", "[sensitivity]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const auto model = open_model(data_path("goldens/" + name));
  Journal nowhere("", "", false);
  const auto found = measured(*model, nowhere);
  REQUIRE(found.size() == model->units().size());
  for (size_t u = 0; u < found.size(); ++u) {
    const LinearSpec& unit = model->units()[u];
    CAPTURE(name, unit.name);
    const bool in_block = unit.block >= 0 && unit.block < model->blocks();
    REQUIRE(found[u].has_value() == in_block);
    if (!in_block) continue;
    CHECK(std::isfinite(*found[u]));
    const std::string& kind = unit.kind;
    if (kind == "q_proj" || kind == "k_proj" || kind == "v_proj" || kind == "gate_proj" ||
        kind == "up_proj" || u % 2 == 1)
      continue;  // those that share a score are below; half of the others is enough
    const MatrixSpec& matrix = model->spec().matrices[unit.matrix];  // all of its units
    std::vector<size_t> together(matrix.units);
    std::iota(together.begin(), together.end(), matrix.first_unit);
    CHECK(*found[u] == Approx(expected(*model, together)).epsilon(1e-3).margin(1e-14));
  }
}

TEST_CASE("q, k and v are quantised together, and gate and up", "[sensitivity]") {
  const auto model = open_model(data_path("goldens/llama"));
  Journal nowhere("", "", false);
  const auto found = measured(*model, nowhere);
  for (const auto& [block, kinds] :
       {std::pair(0, std::vector<const char*>{"q_proj", "k_proj", "v_proj"}),
        std::pair(1, std::vector<const char*>{"gate_proj", "up_proj"})}) {
    std::vector<size_t> units;
    for (const char* kind : kinds) {
      const std::vector<size_t> of_kind = units_of_kind(*model, block, kind);
      REQUIRE(of_kind.size() == 1);
      units.push_back(of_kind[0]);
      CHECK(*found[of_kind[0]] == *found[units[0]]);
    }
    CHECK(*found[units[0]] == Approx(expected(*model, units)).epsilon(1e-3));
    CHECK(*found[units[0]] > 0);
  }
}

TEST_CASE("sensitivity that was kept is not measured again", "[sensitivity]") {
  const TemporaryFolder folder;
  const auto model = open_model(data_path("goldens/mamba"));
  std::vector<std::optional<double>> first;
  {
    Journal journal(folder / "state", "run", false);
    first = measured(*model, journal);
  }
  const int64_t before = model->block_runs();
  Journal journal(folder / "state", "run", true);
  CHECK(measured(*model, journal) == first);
  CHECK(model->block_runs() == before);
}

}  // namespace klens
