#include "tests/engine/null_device.h"

namespace klens::testing {
namespace {

class NullLane final : public Lane {
 public:
  explicit NullLane(NullDevice& device) : Lane(device), counts_(device.counts) {}

  const float* host(const Rows& x) override {
    host_.assign(static_cast<size_t>(x.count() * x.width()), kNullValue);
    return host_.data();
  }
  void write(const float*, const Rows&) override {}

  void embed(std::span<const Weight>, std::span<const int32_t>, float, const Rows& y) override {
    count("embed", y);
  }
  void linear(std::span<const Weight> units, LinearInput& x, const Rows&, const Rows& y) override {
    int64_t outputs = 0;
    for (const Weight& w : units) outputs += w.view.cols == x.x.width() ? w.view.rows : -1;
    if (outputs != y.width() || x.x.count() != y.count())
      throw std::runtime_error("shapes of a linear layer");
    count("linear", y);
  }
  void look(std::span<const Weight>, LinearInput& x) override { count("look", x.x); }
  void norm(const NormArgs& args) override { count("norm", args.y); }
  void gated_norm(const GatedNormArgs& args) override { count("gated_norm", args.y); }
  void activate(const ActivateArgs& args) override { count("activate", args.y); }
  void conv1d(const Conv1dArgs& args, const Batch&) override { count("conv1d", args.y); }
  void short_conv(const ShortConvArgs& args, const Batch&) override { count("short_conv", args.y); }
  void selective_scan(const SelectiveScanArgs& args, const Batch&) override {
    count("selective_scan", args.y);
  }
  void ssd_scan(const SsdScanArgs& args, const Batch&) override { count("ssd_scan", args.y); }
  void delta_rule(const DeltaRuleArgs& args, const Batch&) override { count("delta_rule", args.y); }
  void rope(const Rows& x, int64_t, const RopeTable&) override { count("rope", x); }
  void store_kv(size_t cache, const Rows& k, const Rows&, const Batch& batch) override {
    for (const Sequence& s : batch.sequences) s.state->caches[cache].extend(s.position, s.tokens);
    count("store_kv", k);
  }
  void attend(const AttendArgs& args, const Batch&) override { count("attend", args.y); }
  void zero(const Rows& x) override { count("zero", x); }
  void copy(const Rows&, const Rows& to) override { count("copy", to); }
  void scale(const Rows&, float, const Rows& y) override { count("scale", y); }
  void scale_columns(const Rows& x, const Rows&) override { count("scale_columns", x); }
  void add(const Rows&, const Rows&, const Rows& y) override { count("add", y); }
  void mean(const Rows&, const Rows&, const Rows& y) override { count("mean", y); }
  void add_scaled(const Rows&, float, const Rows& to) override { count("add_scaled", to); }
  void deinterleave(const Rows& from, int64_t, std::span<const Rows> to) override {
    int64_t width = 0;
    for (const Rows& part : to) width += part.width();
    if (width != from.width()) throw std::runtime_error("widths of interleaved parts");
    count("deinterleave", from);
  }
  void gather(const Rows&, std::span<const int64_t>, const Rows& to) override {
    count("gather", to);
  }
  void scatter_add(const Rows& from, std::span<const int64_t>, std::span<const float>,
                   const Rows&) override {
    count("scatter_add", from);
  }
  void add_products(const Rows&, const Rows& sums, bool) override { count("add_products", sums); }
  void divergence(const Rows& z, const Rows&, std::span<PositionScore> scores) override {
    std::fill(scores.begin(), scores.end(), PositionScore{});
    count("divergence", z);
  }
  void log_sum_exp(const Rows& z, std::span<double> sums) override {
    std::fill(sums.begin(), sums.end(), 1.0);
    count("log_sum_exp", z);
  }

 private:
  void count(const char* operation, const Rows& written) {
    ++counts_.operations[operation];
    counts_.floats += written.count() * written.width();
  }

  Counts& counts_;
  std::vector<float> host_;
};

}  // namespace

void NullDevice::run(const std::function<void(Lane&)>& work) {
  NullLane lane(*this);
  work(lane);
}

}  // namespace klens::testing
