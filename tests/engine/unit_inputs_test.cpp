// What columns of a unit matter: the squares of what they are multiplied by.
#include "engine/jobs/unit_inputs.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <optional>
#include <set>

#include "engine/jobs/quantize_job.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

const Windows kWindows = {{1, 2, 3, 5, 8, 13, 21, 34}, {90, 80, 70, 60, 50}};

UnitInputs inputs_of(const Model& model, const Windows& windows) {
  Progress progress(nullptr);
  return UnitInputs(model, windows, Quantizer::Sees::kFactor, progress);
}

std::span<const float> squares_of(const UnitInputs& inputs, size_t unit) {
  return inputs.of(unit, Quantizer::Sees::kSquares).squares;
}

size_t unit_named(const Model& model, const std::string& part) {
  for (size_t u = 0; u < model.units().size(); ++u)
    if (model.units()[u].name.find(part) != std::string::npos) return u;
  FAIL("no unit " << part);
  return 0;
}

}  // namespace

TEST_CASE("the first projection's columns matter as the normalised embedding says", "[inputs]") {
  const auto model = open_model(data_path("goldens/llama"));
  const UnitInputs inputs = inputs_of(*model, kWindows);
  const Checkpoint& checkpoint = model->checkpoint();
  const int64_t width = model->spec().d_model;
  const WeightView table =
      checkpoint.units.at(model->spec().matrices[model->spec().embedding].name).view;
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
  const auto q = squares_of(inputs, unit_named(*model, "layers.0.self_attn.q_proj"));
  const auto k = squares_of(inputs, unit_named(*model, "layers.0.self_attn.k_proj"));
  REQUIRE(q.size() == expected.size());
  for (size_t c = 0; c < expected.size(); ++c) CHECK(q[c] == Approx(expected[c]).epsilon(1e-3));
  CHECK(std::ranges::equal(q, k));
}

TEST_CASE("products of columns are those of double, rounded as far as BF16 goes", "[inputs]") {
  const auto model = open_model(data_path("goldens/llama"), 2);
  Device& device = model->device();
  for (const int64_t tokens : {1, 15, 16, 53})
    for (const int64_t width : {1, 31, 260}) {
      std::vector<float> x(static_cast<size_t>(tokens * width));
      for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 1009));
      std::vector<float> scale;
      for (int64_t t = 0; t < tokens; ++t) {
        double squares = 0;
        for (int64_t c = 0; c < width; ++c)
          squares += std::pow(double{x[static_cast<size_t>(t * width + c)]}, 2);
        scale.push_back(
            squares > 0 ? static_cast<float>(std::sqrt(static_cast<double>(width) / squares)) : 0);
      }
      for (const bool rounded : {false, true}) {
        CAPTURE(tokens, width, rounded);
        const auto bytes = [](int64_t count) {
          return count * static_cast<int64_t>(sizeof(float));
        };
        const Memory sums(device, bytes(width * width));
        device.run([&](Lane& lane) {
          const Lane::Frame frame(lane);
          const Rows input = lane.take(tokens, width);
          lane.write(x.data(), input);
          lane.add_products(input, Rows(sums.address(), width, width), rounded);
        });
        const std::vector<std::byte> read = sums.read();
        const auto* found = reinterpret_cast<const float*>(read.data());
        for (int64_t i = 0; i < width; ++i)
          for (int64_t j = 0; j <= i; ++j) {
            double sum = 0, size = 0;
            for (int64_t t = 0; t < tokens; ++t) {
              const auto at = [&](int64_t c) {
                return double{x[static_cast<size_t>(t * width + c)]} *
                       scale[static_cast<size_t>(t)];
              };
              sum += at(i) * at(j);
              size += std::fabs(at(i) * at(j));
            }
            const double apart = std::fabs(found[i * width + j] - sum);
            if (apart > (rounded ? 0x1p-7 + 1e-4 : 1e-4) * size)
              FAIL(i << ", " << j << ": " << apart);
          }
      }
    }
}

TEST_CASE("inputs are known of every unit that multiplies, whatever the threads", "[inputs]") {
  for (const char* name : {"mamba", "mamba2", "jamba", "hymba", "zamba2", "falcon_h1"}) {
    CAPTURE(name);
    const auto one = open_model(data_path("goldens/" + std::string(name)), 1);
    const auto two = open_model(data_path("goldens/" + std::string(name)), 2);
    const UnitInputs a = inputs_of(*one, kWindows), b = inputs_of(*two, kWindows);
    const UnitInputs first = inputs_of(*one, {kWindows[0]});
    for (size_t u = 0; u < one->units().size(); ++u) {
      const LinearSpec& unit = one->units()[u];
      CAPTURE(unit.name);
      CHECK(std::ranges::equal(squares_of(a, u), squares_of(b, u)));
      const bool looked_up = unit.matrix == one->spec().embedding && !one->spec().tied();
      const bool expert = unit.name.find("experts") != std::string::npos;
      if (looked_up) CHECK(squares_of(a, u).empty());
      if (looked_up || (expert && squares_of(a, u).empty())) continue;
      REQUIRE(squares_of(a, u).size() == static_cast<size_t>(unit.cols));
      for (size_t c = 0; c < squares_of(first, u).size(); ++c)
        CHECK(squares_of(a, u)[c] >= squares_of(first, u)[c]);
    }
  }
}

TEST_CASE("sums that are interrupted at every step go on to the same bits", "[inputs]") {
  for (const char* name : {"mamba", "qwen3_5_moe", "zamba2"}) {
    CAPTURE(name);
    const auto model = open_model(data_path("goldens/" + std::string(name)));
    const TemporaryFolder folder;
    const UnitInputs whole = inputs_of(*model, kWindows);
    int stops = 0;
    std::optional<UnitInputs> found;
    for (int patience = 1; !found; ++patience) {
      int left = patience;
      Progress progress([&](const ProgressReport&) { return --left < 0; },
                        std::chrono::milliseconds(0));
      // However much memory there is each time.
      const int64_t most = patience % 2 == 0 ? 1 : int64_t{1} << 18;
      try {
        found.emplace(*model, kWindows, Quantizer::Sees::kFactor, progress, most,
                      std::make_shared<KeptBytes>(folder / "data", "run", true));
      } catch (const Error& error) {
        REQUIRE(error.kind() == ErrorKind::kInterrupted);
        ++stops;
      }
    }
    CHECK(stops > 2);
    for (size_t u = 0; u < model->units().size(); ++u) {
      CAPTURE(model->units()[u].name);
      CHECK(std::ranges::equal(squares_of(whole, u), squares_of(*found, u)));
      const auto a = whole.of(u, Quantizer::Sees::kFactor).factor;
      const auto b = found->of(u, Quantizer::Sees::kFactor).factor;
      REQUIRE((a == nullptr) == (b == nullptr));
      if (a == nullptr) continue;
      CHECK(a->order == b->order);
      CHECK(a->feedback == b->feedback);
      CHECK(a->d == b->d);
    }
  }
}

TEST_CASE("sums in as many stretches as matrices are those of one", "[inputs]") {
  // Blocks that need more than the stream (caches and an embedding that later blocks come back to)
  // begin anew for each; others are run no more often than memory asks for.
  for (const char* name : {"mamba2", "llama", "qwen3_5_moe", "hymba", "zamba2"}) {
    CAPTURE(name);
    const auto model = open_model(data_path("goldens/" + std::string(name)));
    Progress progress(nullptr);
    const UnitInputs at_once(*model, kWindows, Quantizer::Sees::kFactor, progress);
    const int64_t before = model->block_runs();
    const UnitInputs single(*model, kWindows, Quantizer::Sees::kFactor, progress, 1);
    const bool stops = std::string(name) != "hymba" && std::string(name) != "zamba2";
    CHECK(model->can_stop_between() == stops);
    std::set<const InputFactor*> factors;
    for (size_t u = 0; u < model->units().size(); ++u) {
      CAPTURE(model->units()[u].name);
      CHECK(std::ranges::equal(squares_of(at_once, u), squares_of(single, u)));
      const InputFactor* a = at_once.of(u, Quantizer::Sees::kFactor).factor.get();
      const InputFactor* b = single.of(u, Quantizer::Sees::kFactor).factor.get();
      REQUIRE((a == nullptr) == (b == nullptr));
      if (a == nullptr) continue;
      CHECK(a->order == b->order);
      CHECK(a->feedback == b->feedback);
      CHECK(a->d == b->d);
      factors.insert(b);
    }
    // Each group of a block has a run of that block, but for its last, and one brings the stream
    // on.
    const auto runs = static_cast<size_t>(model->block_runs() - before) / kWindows.size();
    if (stops) CHECK(runs <= factors.size() + 3 * static_cast<size_t>(model->blocks()));
  }
}

}  // namespace klens
