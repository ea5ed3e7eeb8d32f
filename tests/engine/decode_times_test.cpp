// What a decoded token spends on each unit, and plans by it.
#include "engine/jobs/decode_times.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "engine/jobs/quantize_job.h"
#include "engine/jobs/token_cost.h"
#include "loaders/profile_json.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

}  // namespace

TEST_CASE("units are used as often as a token meets them", "[times]") {
  const auto model = open_model(data_path("goldens/zamba2"));
  const std::vector<double> uses = uses_of_units(*model);
  double shared = 0;
  for (size_t u = 0; u < uses.size(); ++u) {
    const LinearSpec& unit = model->units()[u];
    CAPTURE(unit.name);
    CHECK(uses[u] >= 1);
    shared = std::max(shared, uses[u]);
  }
  CHECK(shared > 1);  // blocks that several layers share

  const auto experts = open_model(data_path("goldens/jamba"));
  bool some = false;
  for (size_t u = 0; u < experts->units().size(); ++u) {
    const LinearSpec& unit = experts->units()[u];
    const double used = uses_of_units(*experts)[u];
    if (unit.kind == "embedding") CHECK(used == 0);
    if (unit.name.find("experts") == std::string::npos) continue;
    some = true;
    CHECK(used > 0);
    CHECK(used < 1);
  }
  CHECK(some);
}

TEST_CASE("every candidate is timed, and the times travel with the profile", "[times]") {
  const auto model = open_model(data_path("goldens/llama"));
  ProfileOptions options;
  options.ctx = 16;
  options.windows = 1;
  options.formats = "int8,int4g32";
  options.quantizer = "rtn";
  options.times = true;
  Progress progress(nullptr);
  const Profile profile = run_profile(*model, nullptr, options, progress, go_on).profile;
  const Profile read = profile_from_json(profile_to_json(profile), "profile");
  REQUIRE(read.decode_rest_us.has_value());
  CHECK(read.decode_rest_us == profile.decode_rest_us);
  CHECK(read.timed_on.find("2 threads") != std::string::npos);
  for (size_t u = 0; u < profile.units.size(); ++u)
    for (size_t c = 0; c < profile.units[u].candidates.size(); ++c) {
      const Candidate& candidate = profile.units[u].candidates[c];
      REQUIRE(candidate.decode_us.has_value());
      CHECK((*candidate.decode_us > 0) == (profile.units[u].kind != "embedding"));
      CHECK(read.units[u].candidates[c].decode_us == candidate.decode_us);
    }
  CHECK(measure_decode_speed(*model) > 0);
}

TEST_CASE("quantize keeps to a speed, or says what can be had", "[times]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const TemporaryFolder folder;
  QuantizeOptions options;
  options.profile.ctx = 16;
  options.profile.windows = 2;
  options.profile.quantizer = "rtn";
  options.request.budget.min_tok_s = 1;
  Progress progress(nullptr);
  const QuantizeReport report = quantize(*model, nullptr, folder / "a.klens", options, progress);
  CHECK(*report.plan.predicted_tok_s >= 1);
  CHECK(*report.measured_tok_s > 1);
  CHECK(report.plan.budget == "1 tok/s");
  CHECK(open_checkpoint(folder / "a.klens", true).plan->budget == "1 tok/s");
  options.request.budget.min_tok_s = 1e9;
  CHECK_THROWS_WITH(quantize(*model, nullptr, folder / "b.klens", options, progress),
                    Catch::Contains("the fastest plan"));
  CHECK(!std::filesystem::exists(folder / "b.klens"));
}

}  // namespace klens
