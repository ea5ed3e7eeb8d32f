#pragma once
#include <utility>
#include <vector>

#include "engine/scratch.h"
#include "loaders/model_spec.h"

namespace klens {

// What a block left between its stages, for passes that start at one of its units.
using Kept = std::vector<std::vector<float>>;

// One block's pass as a sequence of stages, each beginning with the units it multiplies by. A pass
// computes all of them, may keep what lies between them, or resumes: only the stages from the one
// with a changed unit on are computed, all before it is read where it was kept.
//
// A block calls reach() for a stage's units, take() for its results, and computes them if due().
// It must not write to what earlier stages took.
class Flow {
 public:
  // kept: null, or where results are kept.
  Flow(Scratch& scratch, Kept* kept) : scratch_(scratch), keep_(kept) {}
  Flow(Scratch& scratch, const Kept& kept, UnitId from)
      : scratch_(scratch), kept_(&kept), from_(from), due_(false) {}

  void reach(UnitId unit) { due_ = due_ || unit == from_; }
  bool due() const { return due_; }

  // Room for `count` floats that this stage computes if it is due, and that it left if not.
  float* take(int64_t count) {
    const size_t at = taken_++;
    if (keep_ != nullptr) {
      if (keep_->size() <= at) keep_->resize(at + 1);
      (*keep_)[at].resize(static_cast<size_t>(count));
      return (*keep_)[at].data();
    }
    // Nothing is written to what is not due.
    if (!due_) return const_cast<float*>((*kept_)[at].data());
    return scratch_.take<float>(count);
  }

  // Stages that need nothing of each other: one that is due makes the others no more due than they
  // are, only what comes after join().
  template <class Work>
  void independent(const Work& work) {
    const bool before = due_;
    work();
    joined_ = joined_ || due_;
    due_ = before;
  }
  void join() { due_ = due_ || std::exchange(joined_, false); }

 private:
  Scratch& scratch_;
  Kept* keep_ = nullptr;
  const Kept* kept_ = nullptr;
  UnitId from_ = 0;
  bool due_ = true, joined_ = false;
  size_t taken_ = 0;
};

}  // namespace klens
