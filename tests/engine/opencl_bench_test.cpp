// What bench tells of the kernels of an OpenCL device, by the events of its driver.
#include <catch2/catch.hpp>
#include <numeric>

#include "engine/jobs/bench_job.h"
#include "tests/engine/opencl_device.h"

namespace klens {
namespace {

using namespace klens::testing;

int64_t count_of(const BenchTest& test, std::string_view kernel) {
  int64_t count = 0;
  for (const BenchKernel& one : test.kernels)
    if (one.name.starts_with(kernel)) count += one.launches;
  return count;
}

}  // namespace

TEST_CASE("bench tells the time of each kernel on OpenCL", "[opencl][bench]") {
  if (!has_opencl()) return;
  const Golden golden = load_golden("mamba2", on_opencl());
  auto& device = dynamic_cast<OpenClDevice&>(golden.model->device());
  Progress progress(nullptr);
  const BenchReport report =
      bench(golden.model, {.prompt = 9, .generate = 4, .repetitions = 1}, progress);
  REQUIRE(report.tests.size() == 2);
  for (const BenchTest& test : report.tests) {
    INFO(test.name);
    REQUIRE_FALSE(test.kernels.empty());
    double kernels = 0, steps = 0, memory = 0;
    for (const BenchKernel& kernel : test.kernels) {
      INFO(kernel.name);
      CHECK(kernel.launches > 0);
      CHECK(kernel.ms >= 0);
      kernels += kernel.share;
      if (kernel.name.starts_with("memory ")) memory += kernel.share;
    }
    for (const auto& [step, share] : test.shares)
      if (step != "rest") steps += share;
    CHECK(kernels > 0);
    CHECK(kernels <= 1.01);
    CHECK(steps == Approx(kernels - memory));
    CHECK(std::ranges::is_sorted(test.kernels, std::ranges::greater(), &BenchKernel::ms));
    // A scan for each layer and pass; each pass reads its logits.
    const int64_t passes = test.name == "pp9" ? 1 : 4;
    CHECK(count_of(test, "ssd_scan") == passes * golden.model->blocks());
    CHECK(count_of(test, "linear") > passes * golden.model->blocks());
    CHECK(count_of(test, "memory read") >= passes);
  }
  CHECK_FALSE(device.timed());
}

TEST_CASE("kernels are counted while they are asked for, and no longer", "[opencl][bench]") {
  if (!has_opencl()) return;
  OpenClDevice device(1, -1);
  const Memory memory(device, 64);
  const Rows x(memory.address(), 1, 16);
  const auto launch = [&](int times) {
    device.run([&](Lane& lane) {
      for (int i = 0; i < times; ++i) lane.zero(x);
    });
  };
  StepClock clock;
  launch(2);  // the first may check the program
  const int64_t before = device.launches();
  device.time_steps(&clock);
  CHECK(device.timed());
  launch(5000);  // more than are kept at once
  device.time_steps(nullptr);
  CHECK_FALSE(device.timed());
  launch(3);
  CHECK(device.launches() - before == 5003);
  const auto kernels = clock.kernels();
  REQUIRE(kernels.contains("fill_zeros"));
  CHECK(kernels.at("fill_zeros").launches == 5000);
  CHECK(clock.spent(static_cast<int>(Step::kElementwise)) == kernels.at("fill_zeros").nanoseconds);
}

TEST_CASE("the CPU has no kernels to tell of", "[opencl][bench]") {
  const Golden golden = load_golden("mamba2");
  Progress progress(nullptr);
  const BenchReport report =
      bench(golden.model, {.prompt = 0, .generate = 2, .repetitions = 1}, progress);
  REQUIRE(report.tests.size() == 1);
  CHECK(report.tests.front().kernels.empty());
}

}  // namespace klens
