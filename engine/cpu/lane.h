#pragma once
#include "engine/cpu/executor.h"
#include "engine/device/device.h"

namespace klens {

// Addresses of the CPU's device are pointers.
template <class T = float>
T* pointer(uint64_t address) {
  return reinterpret_cast<T*>(address);
}
inline float* floats(const Rows& x) { return pointer(x.address()); }
// Null for none: what kernels take for an absent bias or weight.
inline const float* or_null(const Rows& x) { return x.none() ? nullptr : floats(x); }

// Operations as loops over kernels, spread over threads. Each runs to its end before it returns.
class CpuLane final : public Lane {
 public:
  CpuLane(Device& device, const Executor& executor)
      : Lane(device), device_(device), executor_(executor) {}
  void become(const Executor& executor) { executor_ = executor; }

  const float* host(const Rows& x) override;
  void write(const float* from, const Rows& to) override;
  void embed(std::span<const Weight> table, std::span<const int32_t> ids, float scale,
             const Rows& y) override;
  void linear(std::span<const Weight> units, LinearInput& x, const Rows& bias,
              const Rows& y) override;
  void look(std::span<const Weight> units, LinearInput& x) override;
  void norm(const NormArgs& args) override;
  void gated_norm(const GatedNormArgs& args) override;
  void activate(const ActivateArgs& args) override;
  void conv1d(const Conv1dArgs& args, const Batch& batch) override;
  void short_conv(const ShortConvArgs& args, const Batch& batch) override;
  void selective_scan(const SelectiveScanArgs& args, const Batch& batch) override;
  void ssd_scan(const SsdScanArgs& args, const Batch& batch) override;
  void delta_rule(const DeltaRuleArgs& args, const Batch& batch) override;
  void rope(const Rows& x, int64_t heads, const RopeTable& table) override;
  void store_kv(size_t cache, const Rows& k, const Rows& v, const Batch& batch) override;
  void attend(const AttendArgs& args, const Batch& batch) override;
  void zero(const Rows& x) override;
  void copy(const Rows& from, const Rows& to) override;
  void scale(const Rows& x, float by, const Rows& y) override;
  void scale_columns(const Rows& x, const Rows& by) override;
  void add(const Rows& a, const Rows& b, const Rows& y) override;
  void mean(const Rows& a, const Rows& b, const Rows& y) override;
  void add_scaled(const Rows& from, float by, const Rows& to) override;
  void deinterleave(const Rows& from, int64_t groups, std::span<const Rows> to) override;
  void gather(const Rows& from, std::span<const int64_t> rows, const Rows& to) override;
  void scatter_add(const Rows& from, std::span<const int64_t> rows, std::span<const float> by,
                   const Rows& to) override;
  void add_products(const Rows& x, const Rows& sums, bool rounded) override;
  void divergence(const Rows& z, const Rows& zq, std::span<PositionScore> scores) override;
  void log_sum_exp(const Rows& z, std::span<double> sums) override;

  // ---- for the operations, which lie in several files -------------------------------------------
  const Executor& executor() const { return executor_; }
  Timed timed(Step step) const { return Timed(executor_.clock(), step); }

  // body(begin, end) over [0, rows) of rows of `width` floats, for what reads and writes each once.
  template <class Body>
  void over_rows(int64_t rows, int64_t width, const Body& body) const {
    executor_.ranges(rows, width, [&](int64_t begin, int64_t end) {
      const Timed timed = this->timed(Step::kElementwise);
      body(begin, end);
    });
  }
  // body(sequence, begin, end) over [0, items) of every sequence of the batch. `work` is a rough
  // number of operations per token and item.
  template <class Body>
  void over_sequences(const Batch& batch, int64_t items, int64_t work, const Body& body) const {
    const int64_t count = static_cast<int64_t>(batch.sequences.size());
    if (count == 0) return;
    const int64_t tokens = std::max<int64_t>(batch.rows / count, 1);
    executor_.ranges(count * items, tokens * work, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t s = begin / items, stop = std::min(end, (s + 1) * items);
        body(s, begin - s * items, stop - s * items);
        begin = stop;
      }
    });
  }
  // Every sequence's slot; zeros in scratch where the sequence keeps none.
  template <class T = float>
  std::vector<T*> slots(size_t slot, const Batch& batch) {
    std::vector<T*> all;
    for (const Sequence& s : batch.sequences) all.push_back(pointer<T>(slot_of(*s.state, slot)));
    return all;
  }
  template <class T>
  T* take_array(int64_t count) {
    return pointer<T>(take_bytes(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  uint64_t slot_of(const SequenceState& state, size_t slot);

  Device& device_;
  Executor executor_;
};

// Threads take whole strips of channels, so that no two write to one cache line.
inline constexpr int64_t kStrip = 64;

// A rectangle of a linear layer's outputs.
struct LinearPart {
  int64_t tile_begin, tile_end;  // of 16 outputs
  int64_t t_begin, t_end;        // tokens
};
// What linear() does, for operations that go on with each part while it is in their cache: look at
// the input and round it once, and then parts from any thread. y: [tokens of the part][its
// outputs].
void round_input(std::span<const Weight> units, LinearInput& x, CpuLane& lane);
void linear_part(std::span<const Weight> units, const LinearInput& x, const float* bias, float* y,
                 int64_t y_stride, const LinearPart& part, const CpuLane& lane);

// Bytes of a slot of each kind.
int64_t ssd_state_bytes(const StateSlot& slot);

}  // namespace klens
