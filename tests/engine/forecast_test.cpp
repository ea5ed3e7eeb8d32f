// What a profile says of itself before it begins, and the memory that it may hold.
#include "engine/jobs/forecast.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "base/error.h"
#include "engine/jobs/quantize_job.h"
#include "loaders/profile_json.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

ProfileOptions small_forecast() {
  ProfileOptions options;
  options.ctx = 24;
  options.windows = 3;
  options.formats = "int4g32,int8";
  options.suffix = kFastSuffix.name;
  return options;
}

Expected expected_of(const Model& model, const ProfileOptions& options) {
  return expect_profile(model, options, kUsualQuantizer, 3, true, true);
}

std::string forecast_profile(const Model& model, const ProfileOptions& options) {
  Progress progress(nullptr);
  return profile_to_json(run_profile(model, nullptr, options, progress, go_on).profile);
}

}  // namespace

TEST_CASE("a job's stages come as its forecast has them, and its time runs out", "[forecast]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const TemporaryFolder folder;
  QuantizeOptions options;
  options.profile = small_forecast();
  options.request.budget.bpw = 6.5;
  std::vector<std::string> stages;
  double last = -1;
  int64_t bytes = 0;
  Progress progress(
      [&](const ProgressReport& report) {
        if (stages.empty() || stages.back() != report.stage) stages.push_back(report.stage);
        CHECK(report.job_seconds_left >= 0);
        CHECK(report.job_seconds_left >= report.seconds_left);
        last = report.job_seconds_left;
        bytes = report.job_bytes;
        return false;
      },
      std::chrono::milliseconds(0));
  options.profile.windows = 6;
  const QuantizeReport report = quantize(*model, nullptr, folder / "made.klens", options, progress);
  REQUIRE(report.race);
  CHECK(report.race->of == 6);
  CHECK(report.race->windows == report.profile->windows);
  REQUIRE(report.race->windows < 6);  // or another budget is to be taken
  CHECK(report.race->seconds_saved > 0);
  CHECK(report.race->regret <= 0.03);
  CHECK(last == 0);
  CHECK(bytes > 0);
  ProfileOptions asked = options.profile;
  asked.plan_windows = 1;
  const Forecast forecast = expect_profile(*model, asked, kUsualQuantizer, 3, true, false).forecast;
  // The plan is measured twice, once on windows of its own.
  std::vector<std::string> told;
  for (const auto& [stage, seconds] : forecast.stages) {
    CHECK(seconds > 0);
    if (told.empty() || told.back() != stage) told.emplace_back(stage);
  }
  // What a forecast cannot know is whether the plan is measured around.
  std::erase(stages, "re-measure around the plan");
  stages.erase(std::unique(stages.begin(), stages.end()), stages.end());
  CHECK(stages == told);
}

TEST_CASE("a profile within little memory is the same, and less is refused", "[forecast]") {
  const auto model = open_model(data_path("goldens/llama"));
  ProfileOptions options = small_forecast();
  const Expected free = expected_of(*model, options);
  CHECK(free.spare >= int64_t{1} << 30);
  const std::string whole = forecast_profile(*model, options);
  // The least is found by asking.
  int64_t least = 1, most = free.forecast.bytes + (int64_t{1} << 30);
  while (least < most) {
    options.memory = (least + most) / 2;
    try {
      expected_of(*model, options);
      most = options.memory;
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kBadArgument);
      CHECK_THAT(error.what(), Catch::Contains("a profile needs ") && Catch::Contains("--memory") &&
                                   Catch::Contains("--suffix"));
      least = options.memory + 1;
    }
  }
  CHECK(least < int64_t{64} << 20);
  options.memory = least;
  const Expected tight = expected_of(*model, options);
  CHECK(tight.forecast.bytes <= least);
  // Sums of inputs then take several passes, and matrices are made anew for each window.
  const int64_t before = model->block_runs();
  CHECK(forecast_profile(*model, options) == whole);
  const int64_t runs = model->block_runs() - before;
  options.memory = 0;
  const int64_t again = model->block_runs();
  CHECK(forecast_profile(*model, options) == whole);
  CHECK(runs > model->block_runs() - again);
}

}  // namespace klens
