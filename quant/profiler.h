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
  // It runs on the first of so many windows. Where there is another student of the unit, `like`,
  // it is taken to lose in proportion to it on the others.
  size_t every = 1;
  std::optional<size_t> like = {};
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
// it did not run; base[w] the base itself. A student that rests runs on no further window.
struct Scores {
  std::vector<WindowScore> base;
  std::vector<std::vector<WindowScore>> windows;
  std::vector<bool> resting = {};  // by student; empty: none does

  bool rests(size_t student) const { return !resting.empty() && resting[student]; }
  // What every second window says, from `first` on.
  Scores half(size_t first) const;
};

// Runs every student over all windows, windows outermost, so that memory stays one window's
// activations; but for what `kept` has (may be null), which is told each score as it is finished.
// on_done is called with each student that ran, after_window with each window's scores in place,
// where it may have students rest; false ends the run.
void profile_windows(ProfileSubject& subject, std::span<const std::vector<int32_t>> windows,
                     std::span<const Student> students,
                     const std::function<void(const Student&)>& on_done,
                     const std::function<bool()>& after_window, KeptScores* kept, Scores& scores);

// How much of their KL students lose on each window, next to the mean of all windows (1): of those
// that ran on all of them, each counting alike.
std::vector<double> window_shares(const Scores& scores);

// Puts student `index`'s metrics over the windows that it ran on into candidate: every one that is
// made of scores, and KL's standard error over windows and the windows' own means.
void summarise(const Scores& scores, size_t index, int64_t vocab, Candidate& candidate);

// Of a student that ran on some windows only, from the summary of these: its KL on all, by the
// windows' shares, as those that it ran on may be easier than the others.
void carry_over(const Scores& scores, std::span<const double> shares, size_t index,
                Candidate& candidate);

// Of a student that ran on fewer windows than `like`, whose candidate is filled in: its KL after
// that one's.
void extend(const Scores& scores, size_t index, const Student& student, const Candidate& like,
            Candidate& candidate);

// Mean KL per token of a series of windows and its standard error over them (0 for one window).
struct MeanKl {
  double mean = 0, stderr_of_mean = 0;
  std::vector<double> windows;
};
MeanKl mean_kl(std::span<const WindowScore> windows);

}  // namespace klens
