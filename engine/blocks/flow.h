#pragma once
#include <utility>
#include <vector>

#include "engine/device/device.h"

namespace klens {

// What a block left between its stages, for passes that start at one of its matrices.
struct Kept {
  Memory memory;
  Rows rows;
};
using KeptStages = std::vector<Kept>;

// One block's pass as a sequence of stages, each beginning with the matrices it multiplies by. A
// pass computes all of them, may keep what lies between them, or resumes: only the stages from the
// one with a changed matrix on are computed, all before it is read where it was kept.
//
// A block calls reach() for a stage's matrices, take() for its results, and computes them if due().
// It must not write to what earlier stages took.
class Flow {
 public:
  // keep: null, or where results are kept.
  Flow(Lane& lane, KeptStages* keep) : lane_(lane), keep_(keep) {}
  Flow(Lane& lane, const KeptStages& kept, MatrixId from)
      : lane_(lane), kept_(&kept), from_(from), due_(false) {}

  void reach(MatrixId matrix) { due_ = due_ || matrix == from_; }
  bool due() const { return due_; }

  // Room that this stage fills if it is due, and what it left there if not.
  Rows take(int64_t count, int64_t width) {
    const size_t at = taken_++;
    if (keep_ != nullptr) {
      if (keep_->size() <= at) keep_->resize(at + 1);
      Kept& kept = (*keep_)[at];
      const int64_t bytes = count * width * static_cast<int64_t>(sizeof(float));
      if (kept.memory.bytes() != bytes)
        kept.memory = Memory(lane_.space(), bytes, Memory::Begin::kAnything);
      return kept.rows = Rows(kept.memory.address(), count, width);
    }
    return due_ ? lane_.take(count, width) : (*kept_)[at].rows;
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
  Lane& lane_;
  KeptStages* keep_ = nullptr;
  const KeptStages* kept_ = nullptr;
  MatrixId from_ = 0;
  bool due_ = true, joined_ = false;
  size_t taken_ = 0;
};

}  // namespace klens
