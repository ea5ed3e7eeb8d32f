#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/profile.h"

namespace klens {

// A model with one unit made something else than its base has.
struct Student {
  size_t unit;  // index in the model's order of units
  Choice choice;
  // It runs on the first of so many windows. On the others it is taken to lose what it does
  // there in proportion to another student of the unit, `like`.
  size_t every = 1;
  size_t like = 0;
};

// All that profiling needs to see of a model; engine/ implements it.
class ProfileSubject {
 public:
  virtual ~ProfileSubject() = default;
  // Runs teacher and base over one window from a fresh state and keeps what students start from.
  // Returns the base's own score against the teacher.
  virtual WindowScore begin_window(std::span<const int32_t> ids) = 0;
  // Scores of the students over that window, each computed from its unit's block on. on_done is
  // called after each, with its index and score, never from two threads at once; what it throws
  // ends the run.
  using OnDone = std::function<void(size_t, const WindowScore&)>;
  virtual std::vector<WindowScore> run(std::span<const Student> students,
                                       const OnDone& on_done) = 0;
};

// Scores that an interrupted run left behind, and where this one leaves its own. No student: the
// base's own score.
class KeptScores {
 public:
  virtual ~KeptScores() = default;
  virtual std::optional<WindowScore> find(std::span<const int32_t> window,
                                          const Student* student) const = 0;
  virtual void keep(std::span<const int32_t> window, const Student* student,
                    const WindowScore& score) = 0;
};

// What profiling has learnt so far. windows[w][s] is student s on window w, of no positions where
// it did not run; base[w] the base itself.
struct Scores {
  std::vector<WindowScore> base;
  std::vector<std::vector<WindowScore>> windows;
};

// Runs every student over all windows, windows outermost, so that memory stays one window's
// activations; but for what `kept` has (may be null), which is told each score as it is finished.
// on_done is called for each student that ran, after_window with each window's scores in place;
// false ends the run.
void profile_windows(ProfileSubject& subject, std::span<const std::vector<int32_t>> windows,
                     std::span<const Student> students, const std::function<void()>& on_done,
                     const std::function<bool()>& after_window, KeptScores* kept, Scores& scores);

// Puts student `index`'s metrics over the windows that it ran on into candidate: every one that is
// made of scores, and KL's standard error over windows and the windows' own means.
void summarise(const Scores& scores, size_t index, int64_t vocab, Candidate& candidate);

// Of a student that ran on some windows only: its KL on all of them, after `like`, which ran on all
// and whose candidate is filled in.
void extend(const Scores& scores, size_t index, const Student& student, const Candidate& like,
            Candidate& candidate);

// Mean KL per token of a series of windows and its standard error over them (0 for one window).
struct MeanKl {
  double mean = 0, stderr_of_mean = 0;
  std::vector<double> windows;
};
MeanKl mean_kl(std::span<const WindowScore> windows);

}  // namespace klens
