#include "quant/prediction.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "quant/metrics.h"

namespace klens {
namespace {

constexpr double kActivations = 3e-4, kSlope = 0.07;

Candidate prediction_candidate(const char* format, double error, int activation_bits = 8) {
  Candidate c;
  c.choice = {format, "gptq", activation_bits};
  c.others[kOutputError] = error;
  return c;
}

void measure(Candidate& c, double kl) {
  c.kl = kl;
  c.kl_stderr = kl / 10;
  c.kl_windows = {0.9 * kl, 1.1 * kl};
}

// A unit whose KL is what activations lose and a part in proportion to the error.
Unit linear_unit() {
  Unit unit;
  unit.name = "unit";
  unit.candidates = {prediction_candidate("int8g32", 1e-5), prediction_candidate("int6g32", 2e-4),
                     prediction_candidate("int4g32", 5e-3), prediction_candidate("int3g32", 4e-2),
                     prediction_candidate("int4g32", 5e-3, 16)};
  return unit;
}

double linear_kl(double error) { return kActivations + kSlope * error; }

}  // namespace

TEST_CASE("two measured candidates tell what activations lose and what weights lose",
          "[prediction]") {
  Unit unit = linear_unit();
  measure(unit.candidates[0], linear_kl(1e-5));
  measure(unit.candidates[2], linear_kl(5e-3));
  predict_kls(unit);
  CHECK(!unit.candidates[0].predicted);
  CHECK(!unit.candidates[2].predicted);
  for (const size_t i : {size_t{1}, size_t{3}}) {
    const Candidate& c = unit.candidates[i];
    CHECK(c.predicted);
    CHECK(*c.kl == Approx(linear_kl(*c.others[kOutputError])));
    CHECK(*c.kl_stderr == Approx(*c.kl / 10));
    CHECK(c.kl_windows[0] == Approx(0.9 * *c.kl));
  }
  CHECK(*unit.candidates[4].kl == Approx(kSlope * 5e-3));
  // Again, with what is predicted in it: measured ones alone count.
  measure(unit.candidates[2], 2 * linear_kl(5e-3));
  predict_kls(unit);
  CHECK(*unit.candidates[1].kl > linear_kl(2e-4));
}

TEST_CASE("what is compared with a rounded unit is as if compared with the unit itself",
          "[prediction]") {
  constexpr double kReference = 2e-5;
  const Choice rounded_to{"int8g32", "rtn", 16};
  Unit unit = linear_unit();
  measure(unit.candidates[0], linear_kl(1e-5 + kReference));
  measure(unit.candidates[2], linear_kl(5e-3 + kReference));
  take_out_reference(unit, rounded_to, kReference);
  CHECK(*unit.candidates[0].kl == Approx(linear_kl(1e-5)).epsilon(1e-9));
  CHECK(*unit.candidates[2].kl == Approx(linear_kl(5e-3)).epsilon(1e-9));
  CHECK(unit.candidates[2].kl_windows[0] == Approx(0.9 * linear_kl(5e-3)).epsilon(1e-9));
  CHECK(*unit.candidates[2].kl_stderr == Approx(linear_kl(5e-3) / 10).epsilon(1e-9));
  // It is an estimate: never more than half, and nothing where one alone was measured.
  take_out_reference(unit, rounded_to, 1);
  CHECK(*unit.candidates[0].kl == Approx(0.5 * linear_kl(1e-5)).epsilon(1e-9));
  // The reference itself was measured at what activations lose.
  Unit same = linear_unit();
  same.candidates[0].choice.quantizer = "rtn";
  measure(same.candidates[0], kActivations);
  measure(same.candidates[2], linear_kl(5e-3 + 1e-5));
  take_out_reference(same, rounded_to, 1e-5);
  CHECK(*same.candidates[0].kl == Approx(linear_kl(1e-5)).epsilon(1e-3));
  Unit alone = linear_unit();
  measure(alone.candidates[2], linear_kl(5e-3));
  take_out_reference(alone, rounded_to, kReference);
  CHECK(*alone.candidates[2].kl == linear_kl(5e-3));
}

TEST_CASE("one measured candidate gives the others in proportion", "[prediction]") {
  Unit unit = linear_unit();
  measure(unit.candidates[2], 1e-3);
  predict_kls(unit);
  CHECK(*unit.candidates[0].kl == Approx(1e-3 * 1e-5 / 5e-3));
  CHECK(*unit.candidates[3].kl == Approx(1e-3 * 4e-2 / 5e-3));
}

TEST_CASE("a line through three measured candidates goes through all of them", "[prediction]") {
  Unit unit = linear_unit();
  unit.candidates.push_back(prediction_candidate("int2g32", 0.3));
  unit.candidates.push_back(prediction_candidate("int5g32", 1e-3));
  measure(unit.candidates[0], linear_kl(1e-5));
  measure(unit.candidates[2], linear_kl(5e-3));
  measure(unit.candidates[5], 0.2);  // far from proportional
  predict_kls(unit);
  CHECK(*unit.candidates[6].kl == Approx(linear_kl(1e-3)));
  CHECK(*unit.candidates[3].kl > linear_kl(5e-3));
  CHECK(*unit.candidates[3].kl < 0.2);
}

TEST_CASE("chance in what was measured makes no KL negative or infinite", "[prediction]") {
  Unit unit = linear_unit();
  measure(unit.candidates[0], 2e-3);  // more than the coarse one
  measure(unit.candidates[2], 1e-3);
  predict_kls(unit);
  for (const Candidate& c : unit.candidates) {
    CHECK(std::isfinite(*c.kl));
    CHECK(*c.kl > 0);
  }
  Unit nothing = linear_unit();
  predict_kls(nothing);
  CHECK(!nothing.candidates[1].kl);
  nothing.candidates[1].others[kOutputError] = std::nullopt;
  measure(nothing.candidates[0], 1e-3);
  predict_kls(nothing);
  CHECK(!nothing.candidates[1].kl);
}

TEST_CASE("a unit that no token came to loses nothing in any format", "[prediction]") {
  Unit unit = linear_unit();
  measure(unit.candidates[0], 0);
  measure(unit.candidates[2], 0);
  predict_kls(unit);
  for (const Candidate& c : unit.candidates) CHECK(c.kl == 0.0);
  CHECK(unit.candidates[1].predicted);
}

TEST_CASE("halves, whose activations are exact, say nothing of those of 8 bits", "[prediction]") {
  Unit unit = linear_unit();
  unit.candidates.push_back(prediction_candidate("fp16", 1e-8));
  measure(unit.candidates[0], linear_kl(1e-5));
  measure(unit.candidates[2], linear_kl(5e-3));
  predict_kls(unit);
  CHECK(*unit.candidates[5].kl == Approx(kSlope * 1e-8));
  measure(unit.candidates[5], 0);
  predict_kls(unit);
  CHECK(*unit.candidates[1].kl == Approx(linear_kl(2e-4)));
}

TEST_CASE("activations of 16 bits tell what weights lose alone", "[prediction]") {
  Unit unit = linear_unit();
  measure(unit.candidates[0], 1.02 * linear_kl(1e-5));  // by chance
  measure(unit.candidates[2], linear_kl(5e-3));
  measure(unit.candidates[4], kSlope * 5e-3);
  predict_kls(unit);
  CHECK(*unit.candidates[1].kl == Approx(linear_kl(2e-4)).epsilon(0.03));
  CHECK(*unit.candidates[3].kl == Approx(linear_kl(4e-2)).epsilon(0.03));
}

TEST_CASE("fine formats, of whose KL activations are nearly all, say little of weights",
          "[prediction]") {
  for (const double chance : {0.9, 1.0, 1.1}) {
    CAPTURE(chance);
    Unit unit = linear_unit();
    unit.candidates.push_back(prediction_candidate("int8", 2e-5));
    measure(unit.candidates[0], linear_kl(1e-5));
    measure(unit.candidates[5], chance * linear_kl(2e-5));
    measure(unit.candidates[2], linear_kl(5e-3));
    predict_kls(unit);
    CHECK(*unit.candidates[1].kl == Approx(linear_kl(2e-4)).epsilon(0.02));
    CHECK(*unit.candidates[4].kl == Approx(kSlope * 5e-3).epsilon(0.02));
  }
}

TEST_CASE("the coarsest and the finest candidates are worth measuring", "[prediction]") {
  const std::vector<double> errors = {0, 1e-6, 0, 1e-4, 3e-3, 1e-2};
  using List = std::vector<size_t>;
  CHECK(worth_measuring(errors, 0) == List{1, 3, 4, 5});
  CHECK(worth_measuring(errors, 9) == List{1, 3, 4, 5});
  CHECK(worth_measuring(errors, 1) == List{5});
  CHECK(worth_measuring(errors, 2) == List{1, 5});
  CHECK(worth_measuring(errors, 3) == List{1, 3, 5});
  CHECK(worth_measuring(std::vector<double>(3, 0.0), 2).empty());
}

TEST_CASE("what a plan chooses unmeasured is to be measured", "[prediction]") {
  Profile profile;
  for (const char* name : {"a", "b", "c", "d"}) {
    profile.units.push_back(linear_unit());
    profile.units.back().name = name;
    measure(profile.units.back().candidates[0], linear_kl(1e-5));
    measure(profile.units.back().candidates[2], linear_kl(5e-3));
    predict_kls(profile.units.back());
  }
  Plan plan;
  plan.units["a"] = {"int6g32", "gptq"};      // predicted
  plan.units["b"] = {"int4g32", "gptq"};      // measured
  plan.units["c"] = {"int4g32", "gptq", 16};  // predicted, from what 8 bits of activations lose
  plan.units["d"] = {"fp16", "rtn"};          // no candidate
  CHECK(predicted_choices(profile, plan) == std::vector<std::pair<size_t, size_t>>{{0, 1}, {2, 4}});
}

}  // namespace klens
