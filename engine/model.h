#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "engine/blocks/block.h"
#include "engine/devices.h"
#include "loaders/checkpoint.h"

namespace klens {

// How units take their activations: integer ones in integers, or all in FP32; or, to measure what
// that loses, as kInt8, and 16-bit weights in BF16 wherever they are used, not in prompts alone.
enum class Activations { kInt8, kF32, kBf16 };
const char* activations_name(Activations activations);  // as --activations, profiles and files say

struct ModelOptions {
  int threads = 0;  // 0: one per core this process may use
  Activations activations = Activations::kInt8;
  // How keys and values are kept. Absent: FP16, or FP32 where the model computes in FP32 throughout
  // (FP32 weights, or FP32 activations asked for).
  std::optional<KvType> kv = std::nullopt;
  const DeviceEntry* device = nullptr;  // null: the first of devices()
  int device_index = -1;                // of those of its kind; -1: the best
  // How many of the first layers, as the checkpoint counts them, and the embedding that device
  // runs; the CPU runs the others and the head. Absent, or as many as there are: all.
  std::optional<int64_t> gpu_layers = std::nullopt;
};

// What a pass over whole fresh sequences kept: the input of every block, the output of the last,
// and what lay between each block's units.
struct KeptPass {
  Memory memory;
  std::vector<Rows> inputs;  // [blocks + 1] of [rows][d_model]
  std::vector<KeptStages> stages;
};

// What a pass computes.
struct PassRequest {
  std::span<const int32_t> ids;  // of all sequences, one after the other
  // One that begins at position 0 of a model with a prefix has the prefix's rows first, and is
  // alone.
  std::span<const Sequence> sequences;
  const std::vector<Weight>& weights;
  KeptPass* keep = nullptr;        // where to keep it
  const KeptPass* kept = nullptr;  // what to begin with, at `unit`: all before is equal
  UnitId unit = 0;
  bool one_block = false;  // with `kept`: the unit's block, and no more
  // Of a model that can_stop_between(): the blocks to run; where they begin later than at the
  // first, x is what comes to them.
  int64_t first_block = 0;
  std::optional<int64_t> end_block = {};
  SequenceState* drafted = nullptr;  // of a pass of drafts: see Batch
};

// A checkpoint ready to run: weights where they are mapped, blocks with their small tensors
// prepared. Read-only once made; any number of threads may run passes at once, each with its own
// scratch and state.
class Model {
 public:
  Model(Checkpoint checkpoint, const ModelOptions& options);

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const ModelSpec& spec() const { return checkpoint_.spec; }
  const ModelOptions& options() const { return options_; }
  Device& device() const { return *device_; }  // that of the last blocks and the head
  // The embedding and the first blocks, where another device runs them than device(): it has their
  // weights, constants and states. What crosses is the residual stream, by the host.
  struct Front {
    std::unique_ptr<Device> device;
    int64_t layers = 0, blocks = 0;
    std::vector<Weight> weights = {};  // by UnitId; what the blocks do not use is empty
    std::optional<Constants> constants = std::nullopt;
  };
  const Front* front() const { return front_.get(); }  // or null
  std::string level() const;                           // what computes, of both
  // Throws Error (kUnsupported) where there is a front: `what` ("profile") is done on one device.
  void check_whole(const std::string& what) const;
  KvType kv_type() const { return *options_.kv; }
  const std::vector<Weight>& weights() const { return weights_; }  // by UnitId
  // Those for prompts of sessions, and for sums of what matrices are multiplied by, which nothing is
  // measured by: of a checkpoint that is not
  // quantised, those of 16 bits multiply in BF16 where the device is faster so. The same vector
  // where none do.
  const std::vector<Weight>& prompt_weights() const {
    return prompt_weights_.empty() ? weights_ : prompt_weights_;
  }
  const std::vector<LinearSpec>& units() const { return spec().units; }
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }

  // The state of a sequence at its beginning: zeros and empty caches, or, for a model with a
  // prefix, what the prefix leaves.
  SequenceState initial_state() const;
  // A state for one pass over a whole fresh sequence, prefix included, that is not gone on from.
  SequenceState transient_state() const;
  const StateLayout& states() const { return states_; }
  // What a sequence's slots lie in, and a cache of the spec's, on the devices of their blocks.
  Slots make_slots(Memory::Begin begin = Memory::Begin::kZeros) const;
  KvCache make_cache(size_t index) const;

  // Positions of a sequence's own tokens begin here.
  int64_t prefix_rows() const { return spec().prefix_rows(); }

  // Whether all that a block needs of those before it is the residual stream.
  bool can_stop_between() const;

  // The one way through the model: embedding, or what was kept of it, and blocks. x [rows][d_model]
  // becomes what comes before the final norm.
  void run(const PassRequest& request, const Rows& x, Lane& lane) const;
  // y [rows][d_model]: what the head is multiplied by.
  void final_norm(const Rows& x, const Rows& y, const std::vector<Weight>& weights,
                  Lane& lane) const;
  // logits [rows][vocab] = head(final_norm(x)).
  void head(const Rows& x, const Rows& logits, const std::vector<Weight>& weights,
            Lane& lane) const;
  // The head's share of what `weights` sums of inputs, without its logits.
  void look_at_head(const Rows& x, const std::vector<Weight>& weights, Lane& lane) const;

  // What tells whether two models are the same: of a .klens file the checksums it holds, else
  // those of all tensors, found when first asked for.
  const std::string& identity() const;

  // Weights as the model takes them, on one of its devices.
  Weight adopt(const WeightView& view, const Format* format, int activation_bits,
               Device& device) const;

  // Blocks run since the model was made, for tests that prove where passes start.
  int64_t block_runs() const { return block_runs_.load(std::memory_order_relaxed); }

  // Throws Error (kBadArgument) unless every id is in the vocabulary.
  void check_ids(std::span<const int32_t> ids) const;

 private:
  void make_blocks(std::vector<std::function<void()>>& preparations);
  Weight stored_weight(const LinearSpec& unit, Device& device) const;
  void allow_bf16();
  void run_prefix();
  void run_once(const PassRequest& request, const Rows& x, Lane& lane) const;
  void run_front(const PassRequest& request, const Rows& x, Batch& batch, Lane& lane) const;
  int64_t begin(const PassRequest& request, const std::vector<Weight>& weights, const Rows& x,
                Batch& batch, Lane& lane) const;
  void run_block(int64_t block, const Rows& x, Flow& flow, const Pass& pass) const;

  Checkpoint checkpoint_;
  ModelOptions options_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Front> front_;
  std::vector<Weight> weights_, prompt_weights_;
  StateLayout states_;
  Constants constants_;  // of the blocks
  std::vector<Block> blocks_;
  std::optional<Norm> final_norm_;
  bool needs_embedding_ = false;  // blocks come back to it (Batch::embedded)
  std::optional<SequenceState> after_prefix_;
  mutable std::atomic<int64_t> block_runs_{0};
  mutable std::once_flag identified_;
  mutable std::string identity_;
};

// A unit's weights as this model's device runs them; format: null for the checkpoint's own
// precision; activation_bits: a Choice's.
Weight make_weight(const WeightView& view, const Format* format, int activation_bits,
                   const Model& model);

// Room for a pass over `rows` rows.
void make_room(const Model& model, int64_t rows, KeptPass& kept);

// Logits of some rows, some at a time, so that they stay in cache and are never stored whole:
// sink(first row, logits [some][vocab]).
using RowSink = std::function<void(int64_t, const Rows&)>;
void stream_logits(const Model& model, const Rows& x, const std::vector<Weight>& weights,
                   Lane& lane, const RowSink& sink);

}  // namespace klens
