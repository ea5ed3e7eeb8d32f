#pragma once
#include <tbb/task_arena.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "engine/blocks/block.h"
#include "loaders/checkpoint.h"

namespace klens {

struct ModelOptions {
  int threads = 0;  // 0: one per core this process may use
  Activations activations = Activations::kInt8;
  // How keys and values are kept. Absent: FP16, or FP32 where the model computes in FP32 throughout
  // (FP32 weights, or FP32 activations asked for).
  std::optional<cpu::KvType> kv = std::nullopt;
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
  cpu::KvType kv_type() const { return *options_.kv; }
  const std::vector<Weight>& weights() const { return weights_; }  // by UnitId
  const std::vector<LinearSpec>& units() const { return spec().units; }
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }

  // The state of a sequence at its beginning: zeros and empty caches, or, for a model with a
  // prefix, what the prefix leaves.
  SequenceState initial_state() const;
  // A state for one pass over a whole fresh sequence, prefix included, that is not gone on from.
  SequenceState transient_state() const;
  size_t fixed_state_floats() const { return static_cast<size_t>(states_.size()); }

  // Runs work with this model's threads. While another thread has them, work is done by its caller
  // alone.
  void run(const std::function<void(const Executor&)>& work) const;
  // Runs job(i, scratch) for i in [0, count): side by side, one thread each, if there are enough of
  // them to keep the threads busy (job's executor is then serial), else one after the other with
  // all threads.
  void run_jobs(int64_t count,
                const std::function<void(int64_t, const Executor&, Scratch&)>& job) const;

  // One pass of the whole model over the next tokens of some sequences: x [rows][d_model] before
  // the final norm. `ids` are those of all sequences, one after the other.
  void forward(std::span<const int32_t> ids, std::span<const Sequence> sequences, float* x,
               const Executor& executor, Scratch& scratch) const;
  // Positions of a sequence's own tokens begin here.
  int64_t prefix_rows() const { return spec().prefix_rows(); }

  // The stages of a pass. x: [rows][d_model].
  void embed(std::span<const int32_t> ids, float* x, const Pass& pass) const;  // ids are in range
  void embed_prefix(float* x) const;  // the model's own rows: [spec().prefix_rows()][d_model]
  void run_blocks(int64_t begin, int64_t end, float* x, const Pass& pass) const;
  void run_block(int64_t block, float* x, Flow& flow, const Pass& pass) const;
  // logits [rows][vocab] = head(final_norm(x)).
  void head(const float* x, int64_t rows, float* logits, const Pass& pass) const;

  // What tells whether two models are the same: of a .klens file the checksums it holds, else
  // those of all tensors, found when first asked for.
  const std::string& identity() const;

  // From now on what run() does is timed by steps; null: no longer. For `klens bench --profile`.
  void time_steps(StepClock* clock) const { clock_ = clock; }

  // Blocks run since the model was made, for tests that prove where passes start.
  int64_t block_runs() const { return block_runs_.load(std::memory_order_relaxed); }

  // Throws Error (kBadArgument) unless every id is in the vocabulary.
  void check_ids(std::span<const int32_t> ids) const;

 private:
  void run_prefix();
  void make_blocks(std::vector<std::function<void()>>& preparations);

  Checkpoint checkpoint_;
  ModelOptions options_;
  std::vector<Weight> weights_;
  StateLayout states_;
  Arena arena_;  // of the blocks
  std::vector<Block> blocks_;
  std::optional<Norm> final_norm_;
  bool needs_embedding_ = false;  // blocks come back to it (Batch::embedded)
  std::optional<SequenceState> after_prefix_;
  mutable tbb::task_arena tbb_arena_;  // for run_jobs, and whatever else uses oneTBB
  std::unique_ptr<Team> team_;         // for the steps of a pass; null for one thread
  mutable std::atomic<StepClock*> clock_{nullptr};
  mutable std::atomic<int64_t> block_runs_{0};
  mutable std::once_flag identified_;
  mutable std::string identity_;
};

// Logits of some rows, some at a time, so that they stay in cache and are never stored whole:
// sink(first row, rows, logits [rows][vocab]).
using LogitSink = std::function<void(int64_t, int64_t, const float*)>;
void stream_logits(const Model& model, const float* x, int64_t rows, const Pass& pass,
                   const LogitSink& sink);

}  // namespace klens
