// What the profiler measures, and from where: suffix replay must be invisible in the figures.
#include <tbb/parallel_for.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "base/error.h"
#include "base/statistics.h"
#include "engine/jobs/profile_job.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/students.h"
#include "loaders/mapped_file.h"
#include "loaders/profile_json.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

const UnitInputs kAlike;  // no column matters more than another

std::vector<int32_t> window_ids(const std::string& name) {
  const SafetensorsFile reference =
      SafetensorsFile::open(data_path("goldens/" + name + "/reference.safetensors"));
  return tensor_values<int32_t>(reference, "input_ids");
}

Plan plan_with(const Model& model, size_t unit, const std::string& format) {
  Plan plan;
  for (size_t u = 0; u < model.units().size(); ++u)
    plan.units[model.units()[u].name] = {u == unit ? format : "fp16"};
  return plan;
}

ProfileOptions small_profile() {
  ProfileOptions options;
  options.ctx = 24;
  options.windows = 3;
  options.formats = "int4g32,int8";
  return options;
}

std::string profile_text(const Model& model, const ProfileOptions& options) {
  Progress progress(nullptr);
  return profile_to_json(run_profile(model, nullptr, options, progress, go_on).profile);
}

}  // namespace

TEST_CASE("weights half quantised when other work fails are not taken for whole", "[profile]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const auto& [name, unit] = *model->checkpoint().units.begin();
  tbb::task_group_context group;
  ErrorKind kind{};
  tbb::parallel_for(
      0, 1,
      [&, &stored = unit](int) {
        group.cancel_group_execution();
        try {
          quantise_unit(stored, {"int8"});
        } catch (const Error& error) {
          kind = error.kind();
        }
      },
      group);
  CAPTURE(name);
  CHECK(kind == ErrorKind::kInterrupted);
}

TEST_CASE("a student scores as the whole model with that unit replaced", "[profile]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const auto model = open_model(data_path("goldens/" + name));
  const std::vector<int32_t> ids = window_ids(name);
  StudentRunner runner(*model, nullptr, kAlike);
  runner.begin_window(ids);
  for (size_t unit = 0; unit < model->units().size(); ++unit) {
    CAPTURE(name, model->units()[unit].name);
    const Student student{unit, {"int4g32"}};
    const WindowScore fast = runner.run({&student, 1}, [](size_t, const WindowScore&) {})[0];

    // The long way: nothing kept, all of the model with one packed unit.
    PackedUnits packed(model->units().size());
    packed[unit] = std::make_unique<PackedUnit>(
        PackedUnit{quantise_unit(model->checkpoint().units.at(model->units()[unit].name),
                                 {.format = "int4g32", .quantizer = "rtn"})});
    StudentRunner whole(*model, &packed, kAlike);
    const WindowScore slow = whole.begin_window(ids);
    CHECK(fast.kl == slow.kl);
    CHECK(fast.kl_reverse == slow.kl_reverse);
    CHECK(fast.squared_error == slow.squared_error);
    CHECK(fast.delta_ce == slow.delta_ce);
    CHECK(fast.kl > 0);
    CHECK(fast.positions == 53);
    CHECK(fast.labels == 52);
  }
}

TEST_CASE("every student's pass starts at its block", "[profile]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const auto model = open_model(data_path("goldens/" + name));
  StudentRunner runner(*model, nullptr, kAlike);
  runner.begin_window(window_ids(name));
  for (size_t unit = 0; unit < model->units().size(); ++unit) {
    const LinearSpec& spec = model->units()[unit];
    CAPTURE(name, spec.name);
    const bool embeds = spec.matrix == model->spec().embedding;
    const int64_t expected = embeds ? model->blocks() : model->blocks() - spec.block;
    const int64_t before = model->block_runs();
    const Student student{unit, {"int8"}};
    runner.run({&student, 1}, [](size_t, const WindowScore&) {});
    CHECK(model->block_runs() - before == expected);
  }
}

TEST_CASE("students around a plan start from the plan's activations, and are judged by the teacher",
          "[profile]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const std::vector<int32_t> ids = window_ids("mamba");
  const size_t unit = 5;
  const Plan plan = plan_with(*model, 1, "int4g32");
  Progress quiet(nullptr);
  const PackedUnits base = pack_plan(*model, plan, kAlike, quiet);
  StudentRunner around(*model, &base, kAlike);
  const WindowScore base_score = around.begin_window(ids);
  CHECK(base_score.kl > 0);
  const Student student{unit, {"int4g32"}};
  const WindowScore got = around.run({&student, 1}, [](size_t, const WindowScore&) {})[0];

  Plan both = plan;
  both.units[model->units()[unit].name].format = "int4g32";
  const PackedUnits packed = pack_plan(*model, both, kAlike, quiet);
  StudentRunner whole(*model, &packed, kAlike);
  CHECK(got.kl == whole.begin_window(ids).kl);
  // Replacing the base's own quantised unit by fp16 leaves what fp16 loses on FP32 weights: next to
  // nothing.
  const Student back{1, {"fp16"}};
  CHECK(around.run({&back, 1}, [](size_t, const WindowScore&) {})[0].kl < 0.01 * base_score.kl);
}

TEST_CASE("fp16 costs nothing where the checkpoint is FP16, and is measured where it is not",
          "[profile]") {
  Progress progress(nullptr);
  ProfileOptions options = small_profile();
  options.windows = 1;
  const Profile f32 =
      run_profile(*open_model(data_path("goldens/mamba")), nullptr, options, progress, go_on)
          .profile;
  const Profile f16 =
      run_profile(*open_model(demo_model()), nullptr, options, progress, go_on).profile;
  for (const Unit& unit : f32.units) CHECK(*unit.candidates[0].kl > 0);
  for (const Unit& unit : f16.units) {
    CHECK(unit.candidates[0].choice.format == "fp16");
    CHECK(*unit.candidates[0].kl == 0);
  }
}

TEST_CASE("beside rounded units a unit measures as beside the checkpoint's own", "[profile]") {
  const auto model = open_model(demo_model());
  ProfileOptions options = small_profile();
  options.ctx = 64;
  options.windows = 2;
  options.quantizer = "rtn";
  options.formats = "int4g32,int6g32,int8g32";
  Progress progress(nullptr);
  const Profile exact = run_profile(*model, nullptr, options, progress, go_on).profile;
  options.suffix = "fast";
  const Profile fast = run_profile(*model, nullptr, options, progress, go_on).profile;
  CHECK(exact.suffix.empty());
  CHECK(profile_from_json(profile_to_json(fast), "fast").suffix == "fast");
  double sum = 0, sum_fast = 0;
  for (size_t u = 0; u < exact.units.size(); ++u)
    for (size_t c = 0; c < exact.units[u].candidates.size(); ++c) {
      const Candidate &a = exact.units[u].candidates[c], &b = fast.units[u].candidates[c];
      CAPTURE(exact.units[u].name, a.choice.format, a.choice.activation_bits);
      REQUIRE(a.choice == b.choice);
      CHECK(*b.kl == Approx(*a.kl).epsilon(0.3).margin(2e-6));
      if (a.choice.format != "int4g32") continue;
      sum += *a.kl;
      sum_fast += *b.kl;
    }
  CHECK(sum_fast == Approx(sum).epsilon(0.05));

  // Where a model may not compute in integers, or is made of them, there is nothing to be faster.
  const auto in_f32 = open_model(demo_model(), 2, Activations::kF32);
  const std::string own = profile_text(*in_f32, options);
  options.suffix = "exact";
  CHECK(own == profile_text(*in_f32, options));
  options.suffix = "faster";
  CHECK_THROWS_WITH(profile_text(*model, options), Catch::Contains("\"faster\" is not one of"));
}

TEST_CASE("metrics that are not asked for are left out", "[profile]") {
  Progress progress(nullptr);
  ProfileOptions options = small_profile();
  options.metrics = "mse,kurtosis";
  const Profile profile =
      run_profile(*open_model(data_path("goldens/mamba")), nullptr, options, progress, go_on)
          .profile;
  CHECK(profile.units[0].weights[kKurtosis].has_value());
  CHECK(profile.units[0].candidates[1].others[kMse].has_value());
  CHECK(!profile.units[0].candidates[1].kl.has_value());
  CHECK(profile.units[0].candidates[1].kl_windows.empty());
  options.metrics = "klx";
  CHECK_THROWS_WITH(
      run_profile(*open_model(data_path("goldens/mamba")), nullptr, options, progress, go_on),
      Catch::Contains("\"klx\" is not one of"));
}

TEST_CASE("an interrupted profile goes on to the same figures", "[profile]") {
  const auto model = open_model(data_path("goldens/falcon_mamba"));
  const TemporaryFolder folder;
  ProfileOptions options = small_profile();
  const std::string whole = profile_text(*model, options);
  CHECK(whole == profile_text(*model, options));

  options.state_path = folder / "state";
  int windows = 0;
  Progress progress(nullptr);
  CHECK_THROWS_AS(run_profile(*model, nullptr, options, progress,
                              [&](const SoFar&) -> Verdict {
                                if (++windows == 2) throw Error(ErrorKind::kInterrupted, "stop");
                                return {};
                              }),
                  Error);
  REQUIRE(std::filesystem::exists(options.state_path));
  options.resume = true;
  const int64_t before = model->block_runs();
  CHECK(profile_text(*model, options) == whole);
  const int64_t resumed = model->block_runs() - before;
  options.resume = false;
  const int64_t again = model->block_runs();
  CHECK(profile_text(*model, options) == whole);
  CHECK(resumed < model->block_runs() - again);

  // The state of one run is no state of another.
  options.resume = true;
  options.seed = 9;
  CHECK_THROWS_WITH(profile_text(*model, options), Catch::Contains("kept by a run with seed ") &&
                                                       Catch::Contains(", not 9; remove it"));
}

TEST_CASE("a state that belongs to another run says in what they differ", "[profile]") {
  const TemporaryFolder folder;
  const std::string path = folder / "state";
  Journal(path, "model:a text:b ctx:16 formats:int8", false).keep("name", "value");
  CHECK(Journal(path, "model:a text:b ctx:16 formats:int8", true).find("name") != nullptr);
  const auto refused = [&](const char* run, const std::string& why) {
    CHECK_THROWS_WITH(Journal(path, run, true),
                      Catch::Contains("was kept by a run " + why + "; remove it, or run without"));
  };
  refused("model:c text:b ctx:16 formats:int8", "on another model");
  refused("model:a text:c ctx:16 formats:int8", "on another text");
  refused("model:a text:b ctx:32 formats:int8", "with ctx 16, not 32");
  refused("model:a text:b ctx:16 formats:int8,int4g32", "with formats int8, not int8,int4g32");
  refused("model:a text:b ctx:16 formats:int8 more", "with other options");
  refused("", "with other options");
}

TEST_CASE("what is finished when a run ends is not measured again, to the last student",
          "[profile]") {
  const auto model = open_model(data_path("goldens/falcon_mamba"));
  const TemporaryFolder folder;
  ProfileOptions options = small_profile();
  const std::string whole = profile_text(*model, options);
  options.state_path = folder / "state";
  options.resume = true;
  // Stopped again and again by its progress, in the middle of sampling and of windows.
  int stops = 0;
  for (int patience = 1;; ++patience) {
    int left = patience;
    ProgressFn stop = [&](const ProgressReport&) { return --left < 0; };
    Progress progress(stop, std::chrono::milliseconds(0));
    try {
      const ProfileRun run = run_profile(*model, nullptr, options, progress, go_on);
      CHECK(profile_to_json(run.profile) == whole);
      break;
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kInterrupted);
      ++stops;
    }
  }
  // Each run adds what it finished: far fewer stops than steps that patience grows by.
  CHECK(stops > 3);
  // All is kept: what is left is to see how long it takes, in three passes over a few tokens, and
  // to add up.
  const int64_t before = model->block_runs();
  CHECK(profile_text(*model, options) == whole);
  CHECK(model->block_runs() == before + 3 * model->blocks());
  // Without what is too large for lines: what inputs are alike is seen anew, in one window, and
  // what columns matter and go together, in all. Whatever of it is missing.
  const std::filesystem::path data = options.state_path + ".data";
  std::vector<std::filesystem::path> pieces(std::filesystem::directory_iterator(data), {});
  REQUIRE(pieces.size() > 2);
  for (const std::filesystem::path& piece : pieces) {
    std::filesystem::resize_file(piece, std::filesystem::file_size(piece) - 1);
    CHECK(profile_text(*model, options) == whole);
  }
  std::filesystem::remove_all(data);
  const int64_t without = model->block_runs();
  CHECK(profile_text(*model, options) == whole);
  CHECK(model->block_runs() == without + (3 + options.windows + 1) * model->blocks());

  const auto put = [&](const std::string& text) {
    std::ofstream(options.state_path, std::ios::binary) << text;
  };
  // As by kill -9 or a full disk: a line that was not written whole.
  std::string state = read_text(options.state_path);
  put(state.substr(0, state.size() - 30));
  CHECK(profile_text(*model, options) == whole);
  CHECK(read_text(options.state_path) == state);
  state[state.size() / 2] = static_cast<char>(state[state.size() / 2] ^ 1);
  put(state);
  CHECK_THROWS_WITH(profile_text(*model, options), Catch::Contains("is damaged; remove it"));
}

TEST_CASE("small matrices are measured on fewer windows where no more than a plan is wanted",
          "[profile]") {
  CHECK(sparing(100, 100) == 1);
  CHECK(sparing(1e9, 100) == 1);
  CHECK(sparing(25, 100) == 2);
  CHECK(sparing(1, 100) == 4);
  const auto model = open_model(data_path("goldens/mamba"));
  const double mean = mean_weights(*model);
  ProfileOptions options = small_profile();
  for (const int64_t likely : {0, 2}) {
    CAPTURE(likely);
    options.likely = likely;
    Progress progress(nullptr);
    const ProfileRun run = run_profile(*model, nullptr, options, progress, go_on);
    size_t spared = 0;
    for (const Student& student : run.students) {
      if (student.like) continue;
      const LinearSpec& unit = model->units()[student.unit];
      const auto weights = static_cast<double>(unit.rows * unit.cols);
      CHECK(student.every == (likely == 0 ? 1 : sparing(weights, mean)));
      spared += student.every > 1;
    }
    CHECK((spared > 0) == (likely != 0));
    for (const Unit& unit : run.profile.units)
      for (const Candidate& candidate : unit.candidates) CHECK(candidate.kl.has_value());
  }
}

TEST_CASE("scores keep the largest KLs that they are asked for", "[profile]") {
  const auto model = open_model(data_path("goldens/mamba"));
  StudentRunner runner(*model, nullptr, kAlike);
  const Student student{3, {"int4g32"}};
  const auto score = [&](size_t largest) {
    runner.keep_largest(largest);
    runner.begin_window(window_ids("mamba"));
    return runner.run({&student, 1}, [](size_t, const WindowScore&) {})[0];
  };
  const WindowScore none = score(0), some = score(4), all = score(1000);
  CHECK(none.largest.empty());
  REQUIRE(all.largest.size() == 53);
  double sum = 0;
  for (const double kl : all.largest) sum += kl;
  CHECK(sum == Approx(all.kl));
  CHECK(std::ranges::equal(some.largest, std::span(all.largest).first(4)));
  CHECK(std::ranges::is_sorted(all.largest, std::greater()));
}

TEST_CASE("a profile's tail is the 99.9th percentile of all positions", "[profile]") {
  const auto model = open_model(data_path("goldens/mamba"));
  Progress progress(nullptr);
  const ProfileRun run = run_profile(*model, nullptr, small_profile(), progress, go_on);
  for (const Student& student : run.students) {
    const auto& all = run.profile.units[student.unit].candidates;
    const Candidate& candidate = *std::ranges::find(all, student.choice, &Candidate::choice);
    std::vector<double> kls;
    StudentRunner runner(*model, nullptr, run.inputs);
    runner.keep_largest(1000);
    for (size_t w = 0; w < static_cast<size_t>(run.profile.windows); w += student.every) {
      runner.begin_window(run.calibration.windows[w]);
      const auto score = runner.run({&student, 1}, [](size_t, const WindowScore&) {})[0];
      kls.insert(kls.end(), score.largest.begin(), score.largest.end());
    }
    std::ranges::sort(kls);
    REQUIRE(candidate.others[kKlP999]);
    CHECK(*candidate.others[kKlP999] == percentile(kls, 99.9));
  }
}

TEST_CASE("any number of threads measures the same", "[profile]") {
  const ProfileOptions options = small_profile();
  CHECK(profile_text(*open_model(data_path("goldens/mamba"), 1), options) ==
        profile_text(*open_model(data_path("goldens/mamba"), 2), options));
}

}  // namespace klens
