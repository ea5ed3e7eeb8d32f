#pragma once
#include <cstdint>
#include <vector>

#include "engine/device/kv_cache.h"
#include "engine/device/memory.h"

namespace klens {

// Tokens that are read at once are cut at multiples of a block of the sequence. Cuts there, whoever
// makes them, do not show in any bit; elsewhere they may show in the rounding of Mamba-2's states.
inline constexpr int64_t kSequenceBlock = 64;

// What a block keeps of a sequence from token to token, but for keys and values. A device lays it
// out as it likes; all zeros is the beginning.
struct StateSlot {
  enum class Kind { kConv1d, kSelectiveScan, kSsd, kDeltaRule };
  Kind kind;
  // kConv1d: the last width - 1 inputs, or products that are convolved. kSelectiveScan: states x
  // channels. kSsd: heads x states x head_dim (channels: heads * head_dim), in FP16 where `half`.
  // kDeltaRule: heads x states x the values of a head (channels: those of all); groups: heads of
  // keys.
  int64_t channels, width = 0, heads = 0, groups = 0, states = 0;
  bool half = false;
};

// The slots of a model, by index, and where a sequence's memory has them: multiples of 64 bytes.
class StateLayout {
 public:
  size_t add(const StateSlot& slot, int64_t bytes) {
    slots_.push_back(slot);
    at_.push_back(bytes_);
    bytes_ += (bytes + 63) / 64 * 64;
    return slots_.size() - 1;
  }
  size_t slots() const { return slots_.size(); }
  const StateSlot& slot(size_t index) const { return slots_[index]; }
  int64_t at(size_t index) const { return at_[index]; }
  // Of one slot, up to where the next begins.
  int64_t bytes(size_t index) const {
    return (index + 1 < at_.size() ? at_[index + 1] : bytes_) - at_[index];
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<StateSlot> slots_;
  std::vector<int64_t> at_;
  int64_t bytes_ = 0;
};

// What one sequence carries from token to token. Copying it is forking it.
struct SequenceState {
  const StateLayout* layout = nullptr;
  Memory slots;  // none: blocks begin with zeros and keep nothing (a whole fresh pass)
  std::vector<KvCache> caches;

  size_t bytes() const {
    size_t total = static_cast<size_t>(slots.bytes());
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

}  // namespace klens
