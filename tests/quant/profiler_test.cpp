// Which students run on which windows, and what is made of it.
#include "quant/profiler.h"

#include <catch2/catch.hpp>
#include <map>

#include "quant/metrics.h"

namespace klens {
namespace {

const std::vector<std::vector<int32_t>> kWindows = {{1}, {2}, {3}, {4}, {5}};
// What students lose on each window, times what each loses itself.
constexpr double kHard[] = {1, 4, 2, 0.5, 2.5};

WindowScore score_of(double kl) {
  WindowScore score;
  score.kl = 2 * kl;
  score.positions = 2;
  return score;
}

// Students lose (unit + 1) times what the window is hard.
class Subject : public ProfileSubject {
 public:
  WindowScore begin_window(std::span<const int32_t> ids) override {
    window_ = static_cast<size_t>(ids[0]) - 1;
    return score_of(0);
  }
  std::vector<WindowScore> run(std::span<const Student> students, const OnDone& on_done) override {
    std::vector<WindowScore> scores;
    for (size_t i = 0; i < students.size(); ++i) {
      ran[students[i].unit].push_back(window_);
      scores.push_back(score_of(kHard[window_] * static_cast<double>(students[i].unit + 1)));
      on_done(i, scores.back());
    }
    return scores;
  }

  std::map<size_t, std::vector<size_t>> ran;  // windows, by unit

 private:
  size_t window_ = 0;
};

Student student(size_t unit, size_t every = 1) { return {unit, {"int8"}, every}; }

}  // namespace

TEST_CASE("students run on every n-th window until they rest", "[profiler]") {
  Subject subject;
  const std::vector<Student> students = {student(0), student(1, 2), student(2)};
  Scores scores;
  size_t done = 0;
  profile_windows(
      subject, kWindows, students, [&](const Student&) { ++done; },
      [&] {
        if (scores.windows.size() == 3) scores.resting = {false, false, true};
        return true;
      },
      nullptr, scores);
  CHECK(subject.ran[0] == std::vector<size_t>{0, 1, 2, 3, 4});
  CHECK(subject.ran[1] == std::vector<size_t>{0, 2, 4});
  CHECK(subject.ran[2] == std::vector<size_t>{0, 1, 2});
  CHECK(done == 11);

  // Windows differ by what is hard in them, so what a student did not run on is known.
  const std::vector<double> shares = window_shares(scores);
  for (size_t w = 0; w < 5; ++w) CHECK(shares[w] == Approx(kHard[w] / 2));
  for (size_t s = 0; s < 3; ++s) {
    Candidate candidate;
    summarise(scores, s, 7, candidate);
    CHECK(candidate.kl_windows.size() == subject.ran[s].size());
    carry_over(scores, shares, s, candidate);
    CHECK(*candidate.kl == Approx(2.0 * static_cast<double>(s + 1)));
  }
  const Scores odd = scores.half(1);
  REQUIRE(odd.windows.size() == 2);
  CHECK(odd.windows[0][0].kl == 8);
  CHECK(odd.windows[1][2].positions == 0);
}

TEST_CASE("a profile ends where it is told to", "[profiler]") {
  Subject subject;
  const std::vector<Student> students = {student(0)};
  Scores scores;
  profile_windows(
      subject, kWindows, students, [](const Student&) {}, [&] { return scores.windows.size() < 2; },
      nullptr, scores);
  CHECK(subject.ran[0] == std::vector<size_t>{0, 1});
  CHECK(scores.base.size() == 2);
}

TEST_CASE("windows count alike where nobody ran on all of them", "[profiler]") {
  Scores scores;
  scores.windows = {{score_of(1), {}}, {{}, score_of(3)}};
  scores.base.resize(2);
  CHECK(window_shares(scores) == std::vector<double>{1, 1});
  // A student that breaks tells nothing of windows.
  scores.windows = {{score_of(1), score_of(INFINITY)}, {score_of(3), score_of(1)}};
  CHECK(window_shares(scores)[1] == Approx(1.5));
}

}  // namespace klens
