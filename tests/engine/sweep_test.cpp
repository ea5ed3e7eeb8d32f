// The frontier: plans measured as they are measured alone, each once, and gone on with.
#include "engine/jobs/sweep.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "engine/jobs/quantize_job.h"
#include "engine/jobs/refine.h"
#include "loaders/profile_json.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

SweepOptions small_sweep() {
  SweepOptions options;
  options.profile.quantizer = "rtn";
  options.profile.formats = "int8,int4g64";
  options.profile.ctx = 24;
  options.profile.windows = 3;
  options.profile.measured = 0;
  options.points = 4;
  options.windows = 2;
  options.generate = 2;
  options.repetitions = 1;
  return options;
}

SweepReport sweep_with(const Model& model, const SweepOptions& options) {
  Progress progress(nullptr);
  return sweep(model, nullptr, options, progress);
}

Profile profile_for(const Model& model, const SweepOptions& options) {
  Progress progress(nullptr);
  return run_profile(model, nullptr, options.profile, progress, go_on).profile;
}

bool same_figures(const PlanFigures& a, const PlanFigures& b) {
  return a.plan.units == b.plan.units && a.bytes == b.bytes && a.kl.mean == b.kl.mean &&
         a.kl.error == b.kl.error && a.ppl == b.ppl;
}

}  // namespace

TEST_CASE("a sweep has a point for each method and budget, and measures a plan once", "[sweep]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const SweepReport report = sweep_with(*model, small_sweep());
  CHECK(report.profiled);
  CHECK(report.methods.size() ==
        static_cast<size_t>(std::ranges::count(kPlanMethods, false, &PlanMethod::takes_format)));
  CHECK(report.points.size() == 4 * report.methods.size());
  CHECK(report.plans.size() < report.points.size());
  for (size_t i = 0; i < report.plans.size(); ++i) {
    const PlanFigures& figures = report.plans[i];
    CHECK(std::isfinite(figures.kl.mean));
    CHECK(figures.ppl > 1);
    CHECK(figures.tok_s.value_or(0) > 0);
    for (size_t j = 0; j < i; ++j) CHECK(figures.plan.units != report.plans[j].plan.units);
  }
  // The first budget is the smallest plan's, the last the base format's; the first method meets
  // all.
  for (size_t i = 0; i < 4; ++i) CHECK(report.points[i].refused.empty());
  const Plan &smallest = report.plans[report.points[0].plan].plan,
             &largest = report.plans[report.points[3].plan].plan;
  int64_t least = report.profile.fixed_bytes;
  for (const Unit& unit : report.profile.units) {
    least += std::ranges::min_element(unit.candidates, {}, &Candidate::bytes)->bytes;
    CHECK(largest.units.at(unit.name).format == kBaseFormat.name);
  }
  CHECK(smallest.bytes == least);
  CHECK(report.plans[report.points[0].plan].kl.mean > report.plans[report.points[3].plan].kl.mean);
}

TEST_CASE("a plan of a sweep is measured as it would be alone", "[sweep]") {
  const auto model = open_model(data_path("goldens/zamba2"));
  SweepOptions options = small_sweep();
  options.profile_json = profile_to_json(profile_for(*model, options));
  const SweepReport report = sweep_with(*model, options);
  CHECK_FALSE(report.profiled);
  Progress progress(nullptr);
  Journal none("", "", false);
  const Calibration calibration =
      calibrate_on_samples(*model, 24, 3, options.windows, 0, progress, none);
  PlanUnits units(*model, UnitInputs(), int64_t{1} << 30);
  for (const PlanFigures& figures : report.plans) {
    const PlanScore alone =
        measure_plan(*model, figures.plan, units, calibration.held_out, progress, none);
    CHECK(figures.kl.mean == alone.kl.mean);
    CHECK(figures.ppl == std::exp(alone.ce_student));
    CHECK(report.ppl == Approx(std::exp(alone.ce_teacher)).epsilon(1e-12));  // a difference
  }
  // Measured here or given, and however few units are kept from plan to plan.
  const SweepReport own = sweep_with(*model, small_sweep());
  options.packed_bytes = 1;
  const SweepReport one_by_one = sweep_with(*model, options);
  REQUIRE(own.plans.size() == report.plans.size());
  REQUIRE(one_by_one.plans.size() == report.plans.size());
  for (size_t i = 0; i < report.plans.size(); ++i) {
    CHECK(same_figures(report.plans[i], own.plans[i]));
    CHECK(same_figures(report.plans[i], one_by_one.plans[i]));
  }
}

TEST_CASE("a sweep that refines has the plans that quantize goes on to", "[sweep]") {
  const auto model = open_model(data_path("goldens/zamba2"));
  SweepOptions options = small_sweep();
  options.profile.formats = "int4g64,int2g32";  // whose KLs add up least
  options.methods = std::string(kPlanMethods[0].name) + ",greedy";
  Progress progress(nullptr);
  Journal none("", "", false);
  const ProfileRun run = run_profile(*model, nullptr, options.profile, progress, go_on);
  options.profile_json = profile_to_json(run.profile);
  const SweepReport plain = sweep_with(*model, options);
  options.refine = true;
  const SweepReport report = sweep_with(*model, options);
  REQUIRE(report.points.size() == 8);
  int rounds = 0;
  for (size_t i = 0; i < 8; ++i) {
    const SweepPoint &point = report.points[i], &before = plain.points[i];
    const Plan &plan = report.plans[point.plan].plan, &unrefined = plain.plans[before.plan].plan;
    CHECK_FALSE(before.rounds);
    REQUIRE(point.rounds.has_value() == (i < 4));
    if (i >= 4) {
      CHECK(plan.units == unrefined.units);
      continue;
    }
    PlanRequest request;
    request.budget.bpw = std::stod(point.budget);
    PlanUnits units(*model, run.inputs, 1);
    const Refined alone = refine(*model, run, request, unrefined, units, progress, none);
    CHECK(plan.units == alone.plan.units);
    CHECK(*point.rounds == alone.rounds);
    rounds += *point.rounds;
  }
  CHECK(rounds > 0);
}

TEST_CASE("the bytes of a point are those of the file", "[sweep]") {
  const auto model = open_model(data_path("goldens/jamba"));
  const TemporaryFolder folder;
  SweepOptions options = small_sweep();
  options.budgets.resize(2);
  options.budgets[0].bpw = 6.5;
  options.budgets[1].file_bytes = int64_t{1} << 40;
  options.methods = kPlanMethods[0].name;
  const SweepReport report = sweep_with(*model, options);
  REQUIRE(report.plans.size() == 2);
  for (const PlanFigures& figures : report.plans) {
    QuantizeOptions bake;
    bake.plan_json = plan_to_json(figures.plan);
    bake.measure = false;
    Progress progress(nullptr);
    quantize(*model, nullptr, folder / "out.klens", bake, progress);
    CHECK(figures.bytes == std::filesystem::file_size(folder / "out.klens"));
  }
}

TEST_CASE("an interrupted sweep goes on, and measures nothing twice", "[sweep]") {
  const auto model = open_model(data_path("goldens/mamba2"));
  const TemporaryFolder folder;
  SweepOptions options = small_sweep();
  const SweepReport whole = sweep_with(*model, options);
  options.profile.state_path = folder / "sweep.partial";
  options.profile.resume = true;
  // Stopped a little later each time, in any of its stages.
  int interruptions = 0;
  std::optional<SweepReport> report;
  for (int patience = 5; !report; patience = patience * 3 / 2) {
    int left = patience;
    Progress impatient([&](const ProgressReport&) { return --left < 0; },
                       std::chrono::milliseconds(0));
    try {
      report = sweep(*model, nullptr, options, impatient);
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kInterrupted);
      ++interruptions;
    }
    REQUIRE(patience < 100000);
  }
  CHECK(interruptions >= 3);
  REQUIRE(report->plans.size() == whole.plans.size());
  for (size_t i = 0; i < whole.plans.size(); ++i)
    CHECK(same_figures(report->plans[i], whole.plans[i]));

  // All of it is there: what is left are the passes that see inputs, which rtn does without.
  const int64_t before = model->block_runs();
  const SweepReport again = sweep_with(*model, options);
  CHECK(model->block_runs() == before + 2 * model->blocks());  // of the forecast
  CHECK(*again.plans[0].tok_s == *report->plans[0].tok_s);
}

TEST_CASE("a sweep refuses what it cannot be made of", "[sweep]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const auto refused = [&](const SweepOptions& options, const std::string& why) {
    CHECK_THROWS_WITH(sweep_with(*model, options), Catch::Contains(why));
  };
  SweepOptions options = small_sweep();
  options.methods = "uniform";
  refused(options, "takes a format");
  options.methods = "best";
  refused(options, "is not one of");
  options = small_sweep();
  options.budgets.resize(1);
  options.budgets[0].bpw = 0.5;
  refused(options, "smallest plan");
  options = small_sweep();
  options.points = 0;
  refused(options, "at least 1");

  Profile profile = profile_for(*model, options);
  const auto refused_profile = [&](const std::string& why) {
    SweepOptions given = small_sweep();
    given.profile_json = profile_to_json(profile);
    refused(given, "profile: " + why);
  };
  const Profile good = profile;
  profile.checkpoint_xxh3 = "0123456789abcdef";
  refused_profile("is of other weights");
  profile = good;
  profile.activations = "f32";
  refused_profile("was measured with activations in f32");
  profile = good;
  profile.calibration_source = "book.txt";
  refused_profile("was made from the text book.txt");
  profile = good;
  profile.units[0].rows += 1;
  refused_profile("is of another model");
  profile = good;
  profile.units.pop_back();
  refused_profile("is of another model");
  profile = good;
  profile.units.push_back(profile.units[0]);
  profile.units.back().name = "more";
  refused_profile("is of another model: it has");
  options = small_sweep();
  options.profile_json = "{";
  refused(options, "profile");
}

}  // namespace klens
