// What columns of a unit matter: the squares of what they are multiplied by.
#include "engine/jobs/importance.h"

#include <catch2/catch.hpp>

#include "engine/jobs/quantize_job.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

const Windows kWindows = {{1, 2, 3, 5, 8, 13, 21, 34}, {90, 80, 70, 60, 50}};

Importance importance_of(const Model& model, const Windows& windows) {
  Progress progress(nullptr);
  return measure_importance(model, windows, progress);
}

size_t unit_named(const Model& model, const std::string& part) {
  for (size_t u = 0; u < model.units().size(); ++u)
    if (model.units()[u].name.find(part) != std::string::npos) return u;
  FAIL("no unit " << part);
  return 0;
}

}  // namespace

TEST_CASE("the first projection's columns matter as the normalised embedding says",
          "[importance]") {
  const auto model = open_model(data_path("goldens/llama"));
  const Importance importance = importance_of(*model, kWindows);
  const Checkpoint& checkpoint = model->checkpoint();
  const int64_t width = model->spec().d_model;
  const WeightView table = checkpoint.units.at(model->units()[model->spec().embedding].name).view;
  std::vector<float> norm, row(static_cast<size_t>(width));
  for (const auto& [name, tensor] : checkpoint.small)
    if (name.find("layers.0.input_layernorm") != std::string::npos) norm = to_f32(tensor);
  REQUIRE(norm.size() == row.size());
  std::vector<double> expected(row.size());
  for (const std::vector<int32_t>& window : kWindows)
    for (const int32_t id : window) {
      expand_row(table, id, row.data());
      double squares = 0;
      for (const float x : row) squares += double{x} * x;
      for (size_t c = 0; c < row.size(); ++c) {
        const double x = row[c] * norm[c];
        expected[c] += x * x / (squares / static_cast<double>(width) + 1e-6);
      }
    }
  const auto q = importance.of(unit_named(*model, "layers.0.self_attn.q_proj"));
  const auto k = importance.of(unit_named(*model, "layers.0.self_attn.k_proj"));
  REQUIRE(q.size() == expected.size());
  for (size_t c = 0; c < expected.size(); ++c) CHECK(q[c] == Approx(expected[c]).epsilon(1e-3));
  CHECK(std::ranges::equal(q, k));
}

TEST_CASE("importance is known of every unit that multiplies, whatever the threads",
          "[importance]") {
  for (const char* name : {"mamba", "mamba2", "jamba", "hymba", "zamba2", "falcon_h1"}) {
    CAPTURE(name);
    const auto one = open_model(data_path("goldens/" + std::string(name)), 1);
    const auto two = open_model(data_path("goldens/" + std::string(name)), 2);
    const Importance a = importance_of(*one, kWindows), b = importance_of(*two, kWindows);
    const Importance first = importance_of(*one, {kWindows[0]});
    for (size_t u = 0; u < one->units().size(); ++u) {
      const LinearSpec& unit = one->units()[u];
      CAPTURE(unit.name);
      CHECK(std::ranges::equal(a.of(u), b.of(u)));
      const bool looked_up = u == one->spec().embedding && u != one->spec().head;
      const bool expert = unit.name.find("experts") != std::string::npos;
      if (looked_up) CHECK(a.of(u).empty());
      if (looked_up || (expert && a.of(u).empty())) continue;
      REQUIRE(a.of(u).size() == static_cast<size_t>(unit.cols));
      for (size_t c = 0; c < first.of(u).size(); ++c) CHECK(a.of(u)[c] >= first.of(u)[c]);
    }
  }
}

}  // namespace klens
