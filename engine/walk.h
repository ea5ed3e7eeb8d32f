#pragma once
#include "engine/model.h"

namespace klens {

// One fresh sequence that a job takes through a model in parts.
class Walk {
 public:
  // length: tokens that will be fed in all.
  Walk(const Model& model, int64_t length) : Walk(model, length, model.weights()) {}
  // With other weights, which outlive this.
  Walk(const Model& model, int64_t length, const std::vector<Weight>& weights)
      : model_(model),
        weights_(weights),
        state_(model.initial_state()),
        position_(model.prefix_rows()),
        horizon_(position_ + length) {}

  // What comes before the final norm, [ids][d_model] in the lane's scratch, for the next tokens.
  Rows feed(std::span<const int32_t> ids, Lane& lane) {
    const int64_t tokens = static_cast<int64_t>(ids.size());
    const Sequence sequence{
        .state = &state_, .row = 0, .tokens = tokens, .position = position_, .horizon = horizon_};
    const Rows x = lane.take(tokens, model_.spec().d_model);
    model_.run({.ids = ids, .sequences = {&sequence, 1}, .weights = weights_}, x, lane);
    position_ += tokens;
    return x;
  }

 private:
  const Model& model_;
  const std::vector<Weight>& weights_;
  SequenceState state_;
  int64_t position_, horizon_;
};

// A part of a long sequence: a window of any length then takes the memory of a short one.
inline constexpr int64_t kWalkPart = 512;

}  // namespace klens
