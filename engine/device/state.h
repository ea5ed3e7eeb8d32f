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

// The slots of a model, by index, and where a sequence's memory has them: multiples of 64 bytes, on
// the model's device or, of the blocks in front that another device runs, on that one.
class StateLayout {
 public:
  size_t add(const StateSlot& slot, int64_t bytes, bool front = false) {
    int64_t& end = front ? front_bytes_ : own_bytes_;
    const int64_t whole = (bytes + 63) / 64 * 64;
    places_.push_back({slot, front, end, whole});
    end += whole;
    return places_.size() - 1;
  }
  size_t slots() const { return places_.size(); }
  const StateSlot& slot(size_t index) const { return places_[index].slot; }
  bool front(size_t index) const { return places_[index].front; }
  int64_t at(size_t index) const { return places_[index].at; }  // within its device's part
  int64_t bytes(size_t index) const { return places_[index].bytes; }
  int64_t own_bytes() const { return own_bytes_; }
  int64_t front_bytes() const { return front_bytes_; }
  int64_t bytes() const { return own_bytes_ + front_bytes_; }

 private:
  struct Place {
    StateSlot slot;
    bool front;
    int64_t at, bytes;
  };
  std::vector<Place> places_;
  int64_t own_bytes_ = 0, front_bytes_ = 0;
};

// What a sequence's slots lie in: of each device, its part of the layout.
struct Slots {
  Memory own, front;

  int64_t bytes() const { return own.bytes() + front.bytes(); }
  std::vector<std::byte> read() const {
    std::vector<std::byte> all = own.read(), more = front.read();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void write(const std::byte* from) {
    own.write(from);
    front.write(from + own.bytes());
  }
  void swap(Slots& other) noexcept {
    own.swap(other.own);
    front.swap(other.front);
  }
};

// What one sequence carries from token to token. Copying it is forking it.
struct SequenceState {
  const StateLayout* layout = nullptr;
  Slots slots;  // none: blocks begin with zeros and keep nothing (a whole fresh pass)
  std::vector<KvCache> caches;

  // The address of a slot on the device that has it; 0: the sequence keeps none.
  uint64_t slot(size_t index) const {
    const Memory& memory = layout->front(index) ? slots.front : slots.own;
    return memory.bytes() == 0 ? 0 : memory.address() + static_cast<uint64_t>(layout->at(index));
  }

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
