#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "engine/blocks/advance.h"
#include "engine/blocks/projection.h"

namespace klens {

// What mixers are made from.
struct MixerContext {
  const Checkpoint& checkpoint;
  Device& device;
  KvType kv;
  StateLayout& states;   // mixers take their slots in the order of the blocks
  Constants& constants;  // lives as long as the mixers
  // What is left to do, in any order, before mixers can run: all threads share it.
  std::vector<std::function<void()>>& preparations;
  bool front = false;  // of the blocks that another device runs than the model's

  size_t slot(const StateSlot& slot) const {
    return states.add(slot, device.state_bytes(slot), front);
  }
  const MatrixSpec& matrix(MatrixId id) const { return checkpoint.spec.matrices[id]; }
  // A small tensor as one row; none where it is absent.
  Rows values(SmallId small) const { return constants.put(checkpoint.small_values(small)); }
  Rows values(const std::optional<SmallId>& small) const { return small ? values(*small) : Rows(); }
  // A norm's weights, `times` over.
  Rows values(const NormSpec& norm, int64_t times = 1) const;
  Rows values(const std::optional<NormSpec>& norm) const { return norm ? values(*norm) : Rows(); }
  // A small tensor [rows][cols] as [cols][rows]: kernels vectorise over channels, which checkpoints
  // keep outermost. `then`, where given, goes on with it. Made with the preparations.
  Rows transposed(SmallId small, int64_t rows, int64_t cols,
                  const std::function<void(const Rows&)>& then = nullptr) const;
};

// What a block adds to the residual stream, ready to run. One implementation serves prefill and
// decode, one sequence or a batch.
class Mixer {
 public:
  virtual ~Mixer() = default;
  // The result [rows][d_model] for x [rows][d_model], in the flow's memory; advances the states of
  // the pass's sequences.
  virtual Rows run(const Rows& x, Flow& flow, const Pass& pass) const = 0;
};

std::unique_ptr<Mixer> make_mixer(const BlockSpec& block, const MixerContext& context);

// ---- what mixers share --------------------------------------------------------------------------

// RMS norm with its weights. y may be x.
class Norm {
 public:
  Norm(const NormSpec& spec, const MixerContext& context)
      : eps_(spec.eps), weight_(context.values(spec)) {}
  void run(const Rows& x, const Rows& y, const Pass& pass) const {
    pass.lane.norm({.x = x, .y = y, .weight = weight_, .eps = eps_});
  }

 private:
  float eps_;
  Rows weight_;
};

// Causal convolution over time and SiLU, with the state it carries.
class Conv1d {
 public:
  Conv1d(SmallId weight, const std::optional<SmallId>& bias, const MixerContext& context);
  void run(const Rows& x, const Rows& y, const Pass& pass) const {
    advance(Conv1dArgs{.x = x, .y = y, .weight = weight_, .bias = bias_, .slot = slot_}, pass);
  }
  const Rows& weight() const { return weight_; }
  const Rows& bias() const { return bias_; }
  size_t slot() const { return slot_; }

 private:
  Rows weight_, bias_;  // [width][channels], [1][channels]
  size_t slot_;
};

}  // namespace klens
