#pragma once
#include <span>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/scratch.h"

namespace klens {

// What one sequence carries from token to token: convolution and SSM states of all blocks, and KV
// caches. Copying it is forking it.
struct SequenceState {
  std::vector<float> fixed;  // empty: blocks begin with zeros and keep nothing (a whole fresh pass)
  std::vector<KvCache> caches;

  size_t bytes() const {
    size_t total = fixed.size() * sizeof(float);
    for (const KvCache& cache : caches) total += cache.bytes();
    return total;
  }
};

// Some tokens of one sequence within a batch. Positions count the model's prefix.
struct Sequence {
  SequenceState* state;
  int64_t row, tokens;  // rows [row, row + tokens) of the batch are its next tokens
  int64_t position;     // of the first of them
  int64_t horizon;  // where the text that is known so far ends: what dynamic rotation depends on
};

// Where in SequenceState::fixed each block keeps its part.
class StateLayout {
 public:
  int64_t take(int64_t floats) {
    size_ += floats;
    return size_ - floats;
  }
  int64_t size() const { return size_; }

 private:
  int64_t size_ = 0;
};

// A block's part of a sequence's state; zeros in scratch where the sequence keeps none.
float* fixed_state(const Sequence& sequence, int64_t offset, int64_t size, Scratch& scratch);

// cos and sin of the rotations of a batch's rows, made once for all layers that need them.
class RopeTables {
 public:
  struct Table {
    std::vector<float> cos, sin;  // [rows][pairs]
  };
  const Table& get(size_t rope, const RopeSpec& spec, std::span<const Sequence> sequences);

 private:
  std::vector<std::pair<size_t, Table>> tables_;
};

// The rows of one pass: tokens of one or several sequences, one sequence after the other.
struct Batch {
  explicit Batch(std::span<const Sequence> list) : sequences(list) {
    for (const Sequence& s : list) rows += s.tokens;
  }
  std::span<const Sequence> sequences;
  int64_t rows = 0;
  const float* embedded = nullptr;  // [rows][d_model]; for architectures that come back to it
  mutable RopeTables ropes;         // one pass is one thread's
};

}  // namespace klens
