// How well a profile's metrics rank units on other text.
#include "engine/jobs/validate.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "engine/jobs/profile_state.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

bool never_stop(const Profile&) { return false; }

// Windows that hold text of no kind.
Windows some_windows() {
  Windows windows;
  for (int32_t w = 0; w < 4; ++w) {
    windows.emplace_back();
    for (int32_t t = 0; t < 24; ++t) windows.back().push_back((7 * w + 5 * t + t * t) % 150);
  }
  return windows;
}

struct Run {
  std::shared_ptr<const Model> model = open_model(data_path("goldens/mamba"));
  ProfileRun profile;

  explicit Run(const std::string& formats) {
    Progress progress(nullptr);
    ProfileOptions options;
    options.ctx = 24;
    options.windows = 3;
    options.formats = formats;
    options.measured = 0;
    profile = run_profile(*model, nullptr, options, progress, never_stop);
  }
  Validation validate() const {
    Progress progress(nullptr);
    Journal nowhere("", "", false);
    return klens::validate(*model, profile, some_windows(), "other", progress, nowhere);
  }
};

const MetricAgreement& find(const Validation& v, const Metric& metric, bool with_head) {
  for (const MetricAgreement& a : v.agreements)
    if (a.metric == &metric && a.with_head == with_head && a.format == "int4g32") return a;
  FAIL("no " << metric.name);
  return v.agreements.front();
}

}  // namespace

TEST_CASE("what candidates do to other text is what a pass over it says", "[validate]") {
  const Run run("int4g32");
  const Validation v = run.validate();
  CHECK(v.windows == 4);
  CHECK(v.tokens == 4 * 24);
  REQUIRE(v.candidates.size() == run.profile.students.size());
  for (const size_t s : {size_t{1}, v.candidates.size() - 1}) {
    const Student& student = run.profile.students[s];
    StudentRunner runner(*run.model, nullptr, run.profile.inputs);
    WindowScore sum;
    for (const std::vector<int32_t>& window : some_windows()) {
      runner.begin_window(window);
      sum += runner.run({&student, 1}, [](size_t, const WindowScore&) {})[0];
    }
    CHECK(v.candidates[s].unit == run.model->units()[student.unit].name);
    CHECK(v.candidates[s].kl == Approx(sum.kl / 96));
    CHECK(v.candidates[s].delta_ce == Approx(sum.delta_ce / 92).margin(1e-12));
    CHECK(std::log(v.candidates[s].ppl / v.ppl) == Approx(v.candidates[s].delta_ce).margin(1e-9));
  }
}

TEST_CASE("every metric has its tau-b, in its own direction, with the head and without",
          "[validate]") {
  const Run run("int4g32");
  const Validation v = run.validate();
  std::vector<double> kl, truth;
  const size_t head = run.model->spec().head;
  for (size_t s = 0; s < v.candidates.size(); ++s) {
    const Student& student = run.profile.students[s];
    if (student.unit == head || student.choice.format != "int4g32") continue;
    const auto& all = run.profile.profile.units[student.unit].candidates;
    kl.push_back(*std::ranges::find(all, student.choice, &Candidate::choice)->kl);
    truth.push_back(v.candidates[s].kl);
  }
  const MetricAgreement& found = find(v, kKl, false);
  CHECK(found.units == kl.size());
  CHECK(*found.kl.tau == Approx(*kendall_tau_b(kl, truth)));
  CHECK(*found.kl.tau > 0.5);
  CHECK(found.kl.interval->low <= *found.kl.tau);
  CHECK(found.kl.interval->high >= *found.kl.tau);
  CHECK(find(v, kKl, true).units == kl.size() + 1);
  // Large where noise is small: turned round, it agrees.
  CHECK(*find(v, kSqnrDb, false).kl.tau > 0.3);
  // Of units in blocks alone.
  CHECK(find(v, kSensitivity, true).units == kl.size());
  CHECK(find(v, kKurtosis, true).units == kl.size() + 1);
  const Validation again = run.validate();
  CHECK(find(again, kMse, false).ppl.interval->low == find(v, kMse, false).ppl.interval->low);
}

TEST_CASE("formats are judged one at a time", "[validate]") {
  const Run run("int4g32,int8");
  const Validation v = run.validate();
  size_t coarse = 0, fine = 0;
  for (const MetricAgreement& a : v.agreements) {
    coarse += a.format == "int4g32";
    fine += a.format == "int8";
    CHECK(a.units <= run.model->units().size());
  }
  CHECK(coarse == fine);
  CHECK(coarse + fine == v.agreements.size());
}

TEST_CASE("a text for fewer than two windows is refused", "[validate]") {
  const auto model = open_model(demo_model());
  ProfileOptions options;
  options.ctx = 24;
  const auto tokenizer = Tokenizer::from_json(model->checkpoint().texts.tokenizer, "tokenizer");
  CHECK_THROWS_WITH(validation_windows(*model, tokenizer, "The river runs.", options),
                    Catch::Contains("fewer than two windows of 24 tokens; give a longer one"));
}

}  // namespace klens
