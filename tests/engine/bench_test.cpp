// What bench measures against: bytes and operations of a token, and the machine.
#include <catch2/catch.hpp>
#include <map>

#include "engine/cpu/cpu_device.h"
#include "engine/jobs/bench_job.h"
#include "engine/jobs/token_cost.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

// All units once, but for an embedding of its own, and all small tensors.
struct Plain {
  double bytes = 0, weights = 0;

  explicit Plain(const Model& model) {
    for (const LinearSpec& unit : model.units()) {
      if (unit.block < 0 && !model.spec().tied()) continue;
      bytes += static_cast<double>(model.checkpoint().units.at(unit.name).bytes);
      weights += static_cast<double>(unit.rows * unit.cols);
    }
    for (const SmallSpec& small : model.spec().smalls)
      bytes += static_cast<double>(small.elements()) * sizeof(float);
  }
};

}  // namespace

TEST_CASE("a token reads every weight once, shared ones at each place, chosen experts alone") {
  for (const char* name : {"mamba", "mamba2", "llama", "jamba", "falcon_h1"}) {
    const std::shared_ptr<const Model> model =
        open_model(data_path(std::string("goldens/") + name));
    const Plain plain(*model);
    const TokenCost cost = token_cost(*model);
    INFO(name);
    if (std::string(name) == "jamba") {
      CHECK(cost.weight_bytes < plain.bytes);
      CHECK(cost.multiply_adds + cost.head_multiply_adds < plain.weights);
    } else {
      CHECK(cost.weight_bytes == plain.bytes);
      CHECK(cost.multiply_adds + cost.head_multiply_adds == plain.weights);
    }
    CHECK(cost.head_multiply_adds ==
          static_cast<double>(model->spec().vocab * model->spec().d_model));
  }
  const std::shared_ptr<const Model> shared = open_model(data_path("goldens/zamba2"));
  CHECK(token_cost(*shared).weight_bytes > Plain(*shared).bytes);
}

TEST_CASE("what the machine gives is measured with one thread and with several") {
  for (const int threads : {1, 3}) {
    CpuDevice device(threads);
    CHECK(device.read_bandwidth() > 0);
    CHECK(device.integer_peak() > 0);
  }
}

TEST_CASE("bench decodes sequences together, after tokens that are not timed") {
  const std::shared_ptr<const Model> model = open_model(data_path("goldens/mamba2"));
  Progress progress(nullptr);
  const BenchReport report = bench(
      model, {.prompt = 8, .generate = 4, .depth = 5, .repetitions = 3, .batch = 3}, progress);
  REQUIRE(report.tests.size() == 2);
  CHECK(report.tests[0].name == "pp8 @ d5");
  CHECK(report.tests[1].name == "tg4 x3 @ d5");
  CHECK(report.tests[1].samples.size() == 3);
  // Of all three sequences: a step of 3 tokens takes token_ms. Both are of the median run.
  const double step_ms = *report.token_ms, tok_s = report.tests[1].tok_s;
  CHECK(step_ms * tok_s / 1000 == Approx(3));
  // Prefill: depth, then five runs (one warms up, one is timed by steps); decode: depth, then five
  // runs of four steps.
  CHECK(model->block_runs() == model->blocks() * (1 + 5 + 1 + 5 * 4));
  for (const BenchTest& test : report.tests) {
    double all = 0;
    for (const auto& [step, share] : test.shares) all += share;
    const std::map<std::string, double> shares(test.shares.begin(), test.shares.end());
    CHECK(shares.at("linear") > 0);
    CHECK(shares.at("scan") > 0);
    CHECK(all == Approx(1).margin(0.05));
  }
}

}  // namespace klens
