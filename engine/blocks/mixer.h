#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "engine/arena.h"
#include "engine/flow.h"
#include "engine/linear.h"

namespace klens {

// What mixers are made from.
struct MixerContext {
  const Checkpoint& checkpoint;
  cpu::KvType kv;
  StateLayout& states;  // mixers take their places in the order of the blocks
  Arena& arena;         // lives as long as the mixers
  // What is left to do, in any order, before mixers can run: all threads share it.
  std::vector<std::function<void()>>& preparations;
};

// What a block adds to the residual stream, ready to run. One implementation serves prefill and
// decode, one sequence or a batch.
class Mixer {
 public:
  virtual ~Mixer() = default;
  // The result [rows][d_model] for x [rows][d_model], in the flow's memory; advances the states of
  // the pass's sequences.
  virtual const float* run(const float* x, Flow& flow, const Pass& pass) const = 0;
};

std::unique_ptr<Mixer> make_mixer(const BlockSpec& block, const MixerContext& context);

// ---- what mixers share --------------------------------------------------------------------------

// Threads take whole strips of channels, so that no two write to one cache line.
inline constexpr int64_t kStrip = 64;

// A small tensor that may be absent, and its pointer.
std::vector<float> optional_values(const std::optional<SmallId>& small,
                                   const Checkpoint& checkpoint);
inline const float* or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

// [rows][cols] to [cols][rows]: kernels vectorise over channels, which checkpoints keep outermost.
void transpose(const std::vector<float>& values, int64_t rows, int64_t cols, float* to);

// RMS norm with its weights. x and y: [rows][cols], y may be x.
class Norm {
 public:
  Norm(const NormSpec& spec, int64_t cols, const Checkpoint& checkpoint);
  void run(const float* x, int64_t x_stride, float* y, int64_t y_stride, int64_t rows,
           const Pass& pass) const;

 private:
  int64_t cols_;
  float eps_;
  std::vector<float> weight_;  // or empty
};

// Causal convolution over time and SiLU, with the state it carries.
class Conv1d {
 public:
  Conv1d(SmallId weight, const std::optional<SmallId>& bias, const MixerContext& context);
  // x: [rows][channels], rows x_stride apart; y: [rows][channels].
  void run(const float* x, int64_t x_stride, float* y, const Pass& pass) const;

 private:
  int64_t channels_, width_, offset_;
  const float* weight_;      // [width][channels]
  std::vector<float> bias_;  // [channels] or empty
};

}  // namespace klens
