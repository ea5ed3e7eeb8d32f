#include <algorithm>

#include "engine/blocks/mixer.h"
#include "kernels/cpu/conv1d/conv1d.h"
#include "kernels/cpu/norm/rms_norm.h"

namespace klens {

std::vector<float> optional_values(const std::optional<SmallId>& small,
                                   const Checkpoint& checkpoint) {
  return small ? checkpoint.small_values(*small) : std::vector<float>();
}

void transpose(const std::vector<float>& values, int64_t rows, int64_t cols, float* to) {
  constexpr int64_t kSome = 64;  // rows that are read a second time out of cache
  for (int64_t begin = 0; begin < rows; begin += kSome)
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t r = begin; r < std::min(rows, begin + kSome); ++r)
        to[c * rows + r] = values[static_cast<size_t>(r * cols + c)];
}

Norm::Norm(const NormSpec& spec, int64_t cols, const Checkpoint& checkpoint)
    : cols_(cols), eps_(spec.eps), weight_(optional_values(spec.weight, checkpoint)) {}

void Norm::run(const float* x, int64_t x_stride, float* y, int64_t y_stride, int64_t rows,
               const Pass& pass) const {
  const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  pass.executor.ranges(rows, cols_ * 2, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kNorm);
    norm({.x = x + begin * x_stride,
          .x_stride = x_stride,
          .y = y + begin * y_stride,
          .y_stride = y_stride,
          .weight = or_null(weight_),
          .tokens = end - begin,
          .cols = cols_,
          .epsilon = eps_});
  });
}

Conv1d::Conv1d(SmallId weight, const std::optional<SmallId>& bias, const MixerContext& context)
    : channels_(context.checkpoint.spec.smalls[weight].shape[0]),
      width_(context.checkpoint.spec.smalls[weight].shape[2]),
      offset_(context.states.take((width_ - 1) * channels_)),
      bias_(optional_values(bias, context.checkpoint)) {
  float* weights = context.arena.take(channels_ * width_);
  weight_ = weights;
  context.preparations.push_back(
      [weights, weight, channels = channels_, width = width_, &checkpoint = context.checkpoint] {
        transpose(checkpoint.small_values(weight), channels, width, weights);
      });
}

void Conv1d::run(const float* x, int64_t x_stride, float* y, const Pass& pass) const {
  const std::vector<float*> states = fixed_states(pass, offset_, (width_ - 1) * channels_);
  const auto conv = cpu::best_variant(cpu::conv1d_variants(), cpu::active()).run;
  const int64_t strips = (channels_ + kStrip - 1) / kStrip;
  over_sequences(pass, strips, kStrip * width_ * 4, [&](int64_t s, int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kConv);
    const Sequence& sequence = pass.batch.sequences[static_cast<size_t>(s)];
    conv({.x = x + sequence.row * x_stride,
          .x_stride = x_stride,
          .y = y + sequence.row * channels_,
          .y_stride = channels_,
          .w = weight_,
          .bias = or_null(bias_),
          .state = states[static_cast<size_t>(s)],
          .tokens = sequence.tokens,
          .channels = channels_,
          .width = width_,
          .channel_begin = begin * kStrip,
          .channel_end = std::min(channels_, end * kStrip)});
  });
}

}  // namespace klens
