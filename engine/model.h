#pragma once
#include <tbb/task_arena.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <variant>

#include "engine/blocks/mamba1.h"
#include "engine/linear.h"
#include "loaders/checkpoint.h"

namespace klens {

struct ModelOptions {
  int threads = 0;  // 0: one per core this process may use
  Activations activations = Activations::kInt8;
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
  const std::vector<Weight>& weights() const {
    return weights_;
  }  // by unit, in the order of each_unit
  const std::vector<LinearSpec>& units() const { return units_; }
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t state_size() const { return state_offset_.back(); }  // floats of one sequence's state

  // Runs work with this model's threads.
  void run(const std::function<void(const Executor&)>& work) const;
  // Runs job(i, scratch) for i in [0, count): side by side, one thread each, if there are enough of
  // them to keep the threads busy (job's executor is then serial), else one after the other with
  // all threads.
  void run_jobs(int64_t count,
                const std::function<void(int64_t, const Executor&, Scratch&)>& job) const;

  // The three stages of a pass. x: [tokens][d_model].
  void embed(std::span<const int32_t> ids, float* x, const Pass& pass) const;  // ids are in range
  // x through blocks [begin, end); state [state_size()] or null for a fresh sequence that is not
  // kept.
  void run_blocks(int64_t begin, int64_t end, float* x, int64_t tokens, float* state,
                  const Pass& pass) const;
  // As run_blocks for one block of a fresh sequence, keeping in kept [kept_size()] what lies
  // between its units...
  void run_block_keeping(int64_t block, float* x, int64_t tokens, float* kept,
                         const Pass& pass) const;
  int64_t kept_size(int64_t block, int64_t tokens) const;
  // ...and the same from one of its units on, when only that unit has changed. x: the block's
  // input.
  void resume_block(int64_t block, size_t unit, const float* kept, float* x, int64_t tokens,
                    const Pass& pass) const;
  // logits [tokens][vocab] = head(final_norm(x)).
  void head(const float* x, int64_t tokens, float* logits, const Pass& pass) const;

  // Blocks run since the model was made, for tests that prove where passes start.
  int64_t block_runs() const { return block_runs_.load(std::memory_order_relaxed); }

  // Throws Error (kBadArgument) unless every id is in the vocabulary.
  void check_ids(std::span<const int32_t> ids) const;

 private:
  struct Block {
    const float* norm;  // [d_model]
    float norm_eps;
    std::variant<Mamba1> mixer;
    size_t first_unit;
  };
  float* fresh_state(int64_t block,
                     const Pass& pass) const;  // zeros, in the caller's scratch frame
  void normalise(const Block& block, const float* x, int64_t tokens, float* y,
                 const Pass& pass) const;

  Checkpoint checkpoint_;
  ModelOptions options_;
  std::vector<LinearSpec> units_;
  std::vector<Weight> weights_;
  size_t embedding_unit_ = 0, head_unit_ = 0;
  std::vector<Block> blocks_;
  std::vector<int64_t> state_offset_;  // [blocks + 1], floats
  mutable tbb::task_arena arena_;
  mutable std::atomic<int64_t> block_runs_{0};
};

// Logits of a whole fresh sequence, some positions at a time, so that they stay in cache and are
// never stored whole: sink(first position, positions, logits [positions][vocab]).
using LogitSink = std::function<void(int64_t, int64_t, const float*)>;
void stream_logits(const Model& model, const float* x, int64_t tokens, const Pass& pass,
                   const LogitSink& sink);

}  // namespace klens
