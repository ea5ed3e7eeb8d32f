#pragma once
#include <array>
#include <functional>
#include <optional>

#include "engine/device/device.h"
#include "engine/opencl/put_off.h"
#include "engine/opencl/queue.h"

namespace klens {

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
    off_ = {};
    numbers_.clear();
    if (!stored_.empty()) clear_beyond();
  }
  // Has done what was put off.
  void settle();

  // Throws Error if keys or values that were stored outside a pass are beyond FP16.
  void check_reach();

 private:
  // Numbers where kernels read them.
  At numbers(std::initializer_list<int64_t> list);
  // Where a cache of FP16 tells that it had no room for what was stored.
  At beyond_of(KvCache& cache);
  void clear_beyond();
  // Whether each of those since this was last asked had none. Waits, unless there are none.
  std::vector<bool> beyond_halves();
  void widen(KvCache& cache);
  // Of the sequence's rows. rotations: what is done to queries, if any, and keys before.
  void store_rows(const KvCache& cache, const Rows& k, const Rows& v, const Sequence& s, At beyond,
                  const std::vector<Rotation>& rotations);

  // What makes rows, for later, or at once.
  void put_off(PutOff made, bool later = true);
  void put_off(const Sum& sum);
  // Whether what was put off can give x, which it makes, in 8 bits too.
  bool gives(const Rows& x, int64_t group) const;
  bool reads(const Extent& memory) const;  // what was put off
  std::vector<Copy> copies_beside(const NormArgs& args);
  // rounded: where the result, of a product its first columns, goes to in 8 bits too; or null.
  void launch_norm(const NormArgs& args, const std::optional<Sum>& sum,
                   const std::vector<Copy>& beside, const LinearInput::Rounded* rounded);
  void launch_product(const Product& product, int64_t columns, const LinearInput::Rounded* rounded);
  void launch_rotation(const Rotation& rotation);
  // The rotations that were put off, if they are of a cache's queries and keys: the latter last.
  std::vector<Rotation> rotations_of(const KvCache& cache, const Rows& k);
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
  void in_planes(Product product);
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
  using Numbers = std::array<int32_t, 10>;
  static constexpr size_t kNumbers = 1024;
  uint64_t numbers_at_;
  std::vector<Numbers> numbers_;  // that lie there, of this pass
  Later off_;
};

}  // namespace klens
