#pragma once
#include <optional>
#include <variant>

#include "engine/device/device.h"
#include "engine/opencl/queue.h"

namespace klens {

inline bool same(const Rows& a, const Rows& b) {
  return a.address() == b.address() && a.count() == b.count() && a.width() == b.width() &&
         a.stride() == b.stride();
}
inline uint64_t end_of(const Rows& rows) {
  return rows.address() +
         static_cast<uint64_t>((rows.count() - 1) * rows.stride() + rows.width()) * sizeof(float);
}
inline bool overlap(const Rows& rows, uint64_t begin, uint64_t end) {
  return rows.address() < end && begin < end_of(rows);
}

// Operations as kernels of kernels/opencl, told to the device's queue. Nothing waits but what gives
// numbers to the host.
class OpenClLane final : public Lane {
 public:
  OpenClLane(Device& device, OpenClQueue& queue);
  ~OpenClLane() override;

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
  bool must_repeat() override;
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

  // Begins again after a pass, which may have ended in the middle.
  void forget() {
    added_.reset();
    norm_.reset();
    if (!stored_.empty()) clear_beyond();
  }
  // Has done what was put off.
  void settle();

  // Throws Error if keys or values that were stored outside a pass are beyond FP16.
  void check_reach();

 private:
  // Where a cache of FP16 tells that it had no room for what was stored.
  At beyond_of(KvCache& cache);
  void clear_beyond();
  // Whether each of those since this was last asked had none. Waits, unless there are none.
  std::vector<bool> beyond_halves();
  void widen(KvCache& cache);
  void store_rows(const KvCache& cache, const Rows& k, const Rows& v, const Sequence& s, At beyond);

  // A sum and a norm are put off, as what comes next may take them with it: a norm the sum that it
  // follows, and a linear layer's rounding the norm that it follows. In a decoded token each launch
  // saved is time.
  struct Added {
    Rows from;
    float by;
    Rows to;
  };
  struct Normed {
    std::variant<NormArgs, GatedNormArgs> args;
    std::optional<Added> added;
  };
  static const Rows& result_of(const Normed& norm) {
    const auto* a = std::get_if<NormArgs>(&norm.args);
    return a != nullptr ? a->y : std::get<GatedNormArgs>(norm.args).y;
  }
  // rounded: where the result goes to in 8 bits too; or null.
  void launch_norm(const Normed& norm, const LinearInput::Rounded* rounded);
  void launch(Step step, const KernelName& which, const WorkItems& grid,
              std::initializer_list<Argument> arguments);
  // Of elementwise.cl, over y's columns and rows; the width is the last argument.
  void each(const char* name, const Rows& y, std::initializer_list<Argument> arguments);
  // Numbers of the host in scratch memory.
  template <class T>
  At put(std::span<const T> values) {
    const int64_t bytes = static_cast<int64_t>(values.size_bytes());
    const uint64_t at = take_bytes(bytes);
    settle();  // memory may be what it still reads
    queue_.write(values.data(), at, bytes);
    return At(at);
  }
  // The sequence's slot; zeros in scratch where it keeps none.
  At slot_of(const Sequence& sequence, size_t slot);
  void round_input(const Weight& w, LinearInput& x);
  void unit(const Weight& w, const LinearInput& x, At bias, const Rows& y);
  void store_plane(const KvCache& cache, const KvCache::Plane& plane, const Rows& x,
                   int64_t position, At beyond);
  // Tokens of a sequence that are scanned together, and where in the batch they are.
  struct Stretch {
    int64_t row, tokens;
    int64_t first;  // of them up to a multiple of a chunk in the sequence
    bool chunks;    // as products of matrices; else one after the other
  };
  std::vector<Stretch> stretches(const Sequence& s, bool chunks) const;
  template <class Run>
  void over_chunks(const Stretch& part, int64_t size, const Run& run);
  void ssd_tokens(const SsdScanArgs& a, const StateSlot& slot, At state, const Stretch& part);
  void ssd_chunks(const SsdScanArgs& a, const StateSlot& slot, At state, const Stretch& part);
  // What is made of a batch's rows: of q and k, their factors to unit length; e^log_decay; beta.
  struct DeltaInputs {
    Rows factors, decay, beta;
  };
  void delta_tokens(const DeltaRuleArgs& a, const DeltaInputs& made, const StateSlot& slot,
                    At state, const Stretch& part);
  void delta_chunks(const DeltaRuleArgs& a, const DeltaInputs& made, const StateSlot& slot,
                    At state, const Stretch& part);
  void attend_some(const AttendArgs& a, const Sequence& s, int64_t from, int64_t count);
  // stats [rows][3]: of each row the greatest, and the sum of e^(z - it) in two floats.
  void normalisers(const Rows& z, At stats);

  Device& device_;
  OpenClQueue& queue_;
  // An int for each of `stored_`, the caches of FP16 that were stored to since beyond_halves().
  uint64_t beyond_;
  size_t room_;
  std::vector<KvCache*> stored_;
  std::optional<Added> added_;
  std::optional<Normed> norm_;
};

}  // namespace klens
