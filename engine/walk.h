#pragma once
#include "engine/model.h"

namespace klens {

// One fresh sequence that a job takes through a model in parts, in one thread's scratch.
class Walk {
 public:
  // length: tokens that will be fed in all.
  Walk(const Model& model, int64_t length)
      : model_(model),
        state_(model.initial_state()),
        position_(model.prefix_rows()),
        horizon_(position_ + length) {}

  // x [ids][d_model] before the final norm, for the next tokens.
  void feed(std::span<const int32_t> ids, float* x, const Executor& executor, Scratch& scratch) {
    const int64_t tokens = static_cast<int64_t>(ids.size());
    const Sequence sequence{
        .state = &state_, .row = 0, .tokens = tokens, .position = position_, .horizon = horizon_};
    model_.forward(ids, {&sequence, 1}, x, executor, scratch);
    position_ += tokens;
  }

 private:
  const Model& model_;
  SequenceState state_;
  int64_t position_, horizon_;
};

// A part of a long sequence: a window of any length then takes the memory of a short one.
inline constexpr int64_t kWalkPart = 512;

// For the head alone, which needs no sequence.
inline const Batch& no_batch() {
  static const Batch none({});
  return none;
}

}  // namespace klens
