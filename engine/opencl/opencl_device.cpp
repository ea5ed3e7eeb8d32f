#include "engine/opencl/opencl_device.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/error.h"
#include "engine/cpu/cpu_device.h"
#include "engine/opencl/checksum.h"
#include "engine/opencl/self_check.h"

namespace klens {
namespace {

int64_t data_bytes(const WeightView& w) {
  if (w.layout == Layout::kRowsF32 || w.layout == Layout::kRowsF16 || w.layout == Layout::kRowsBf16)
    return w.rows * w.cols * row_layout_bytes(w.layout);
  return static_cast<int64_t>(tiles_bytes(w.layout, w.rows, w.cols));
}

int64_t scales_bytes(const WeightView& w) {
  return w.row_tiles() * w.groups() * kTileOutputs * static_cast<int64_t>(sizeof(uint16_t));
}

// The device's copies of a unit's parts, or where it reads them in place.
class Parts {
 public:
  Parts(OpenClQueue& queue, bool in_place) : queue_(queue), in_place_(in_place) {}
  ~Parts() {
    if (in_place_) queue_.settle();  // what is mapped may go next
    for (const uint64_t address : held_) queue_.free(address);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  template <class T>
  const T* add(const T* from, int64_t bytes) {
    if (from == nullptr) return nullptr;
    held_.reserve(held_.size() + 1);
    uint64_t address = in_place_ ? queue_.map(from, bytes) : 0;
    if (address == 0) {
      address = queue_.allocate(std::max<int64_t>(bytes, 1));
      held_.push_back(address);
      queue_.write(from, address, bytes);
    } else {
      held_.push_back(address);
    }
    return reinterpret_cast<const T*>(address);
  }

 private:
  OpenClQueue& queue_;
  bool in_place_;
  std::vector<uint64_t> held_;
};

}  // namespace

OpenClDevice::OpenClDevice(int threads, int index) : OpenClDevice(threads, opencl_device(index)) {}

OpenClDevice::OpenClDevice(int threads, OpenClInfo info, bool checked)
    : info_(std::move(info)),
      verifies_(wants_checksum(!info_.uses.in_place)),
      threads_(thread_count(threads)),
      arena_(threads_),
      queue_(info_, checked ? [this](const std::string& family,
                                     const std::string& options) { return check(family, options); }
                            : OpenClPrograms::Check()) {}

std::string OpenClDevice::check(const std::string& family, const std::string& options) {
  return family == "checksum" ? check_checksum(queue_) : self_check(*this, family, options);
}

std::string OpenClDevice::level() const {
  std::string features;
  for (const OpenClFeature& feature : opencl_features())
    if (info_.uses.*feature.flag) features += std::string(" +") + feature.name;
  return info_.name + ", driver " + info_.driver + features;
}

Device::Adopted OpenClDevice::adopt(const WeightView& mapped) {
  const auto parts = std::make_shared<Parts>(queue_, info_.uses.in_place);
  WeightView view = mapped;
  view.data = parts->add(mapped.data, data_bytes(mapped));
  view.scale = parts->add(mapped.scale, scales_bytes(mapped));
  view.min = parts->add(mapped.min, scales_bytes(mapped));
  if (verifies_) verify(mapped, view);
  return {view, parts};
}

void OpenClDevice::verify(const WeightView& mapped, const WeightView& adopted) {
  verify_part(mapped.data, adopted.data, data_bytes(mapped));
  verify_part(mapped.scale, adopted.scale, scales_bytes(mapped));
  verify_part(mapped.min, adopted.min, scales_bytes(mapped));
}

void OpenClDevice::verify_part(const void* host, const void* address, int64_t bytes) {
  if (host == nullptr) return;
  constexpr int64_t kPiece = int64_t{1} << 20;
  const auto* from = static_cast<const std::byte*>(host);
  std::atomic<uint64_t> given{0};
  prepare((bytes + kPiece - 1) / kPiece, [&](int64_t i) {
    const int64_t first = i * kPiece, size = std::min(kPiece, bytes - first);
    given += checksum_of({from + first, static_cast<size_t>(size)}, static_cast<uint64_t>(first));
  });
  if (checksum_on(queue_, reinterpret_cast<uint64_t>(address), bytes) == given) return;
  throw Error(ErrorKind::kUnsupported,
              "backend opencl: " + info_.name + " (driver " + info_.driver +
                  ") reads other weights than the host gave it" +
                  (info_.uses.in_place ? ", in place; use KLENS_OPENCL_FEATURES without in-place"
                                       : "; try again, try another driver") +
                  ", or use --backend cpu");
}

void OpenClDevice::fill(const Rows& to, const std::function<void(float*)>& make) {
  std::vector<float> values(static_cast<size_t>(to.count() * to.width()));
  make(values.data());
  queue_.write(values.data(), to.address(), static_cast<int64_t>(values.size() * sizeof(float)));
}

void OpenClDevice::negate_exp(const Rows& x) {
  queue_.launch({"elementwise", "", "negate_exp"}, over_columns(x.width(), x.count()),
                {x, x.width()});
}

// A lane keeps its scratch from one run to the next.
class OpenClDevice::Borrowed {
 public:
  explicit Borrowed(OpenClDevice& device) : device_(device) {
    const std::lock_guard lock(device.mutex_);
    if (device.idle_.empty()) {
      device.idle_.reserve(++device.lanes_);  // giving it back cannot fail
      lane_ = std::make_unique<OpenClLane>(device, device.queue_);
    } else {
      lane_ = std::move(device.idle_.back());
      device.idle_.pop_back();
    }
    lane_->forget();
    frame_ = std::make_unique<Lane::Frame>(*lane_);
  }
  ~Borrowed() {
    frame_.reset();
    const std::lock_guard lock(device_.mutex_);
    device_.idle_.push_back(std::move(lane_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  OpenClLane& lane() { return *lane_; }

 private:
  OpenClDevice& device_;
  std::unique_ptr<OpenClLane> lane_;
  std::unique_ptr<Lane::Frame> frame_;  // what work takes goes back with the lane
};

void OpenClDevice::run(const std::function<void(Lane&)>& work) {
  Borrowed borrowed(*this);
  work(borrowed.lane());
  borrowed.lane().check_reach();
}

// One after the other: there is one queue, and each job fills it.
void OpenClDevice::run_jobs(int64_t count, const std::function<void(int64_t, Lane&)>& job) {
  arena_.execute([&] {
    Borrowed borrowed(*this);
    for (int64_t i = 0; i < count; ++i) {
      const Lane::Frame frame(borrowed.lane());
      job(i, borrowed.lane());
    }
    borrowed.lane().check_reach();
  });
}

void OpenClDevice::prepare(int64_t count, const std::function<void(int64_t)>& job) {
  arena_.execute([&] { tbb::parallel_for(int64_t{0}, count, job); });
}

// The best of several passes, in seconds; the first of all warms up.
template <class Pass>
static double best_of(OpenClQueue& queue, const Pass& pass) {
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    queue.finish();
    const auto begin = std::chrono::steady_clock::now();
    pass();
    queue.finish();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i == 1 || (i > 1 && seconds < best)) best = seconds;
  }
  return best;
}

double OpenClDevice::read_bandwidth() {
  constexpr int64_t kBytes = int64_t{256} << 20, kItems = 1 << 16;
  const Memory all(*this, kBytes), sums(*this, kItems * 4);
  const double seconds = best_of(queue_, [&] {
    queue_.launch({"probe", "", "read_all"}, over_columns(kItems, 1),
                  {At(all.address()), kBytes / 16, At(sums.address())});
  });
  return static_cast<double>(kBytes) / seconds * 1e-9;
}

double OpenClDevice::integer_peak() {
  constexpr int64_t kItems = 1 << 14, kTurns = 64, kOperations = 64 * 4 * 2;
  const Memory sums(*this, kItems * 4);
  int seed = 0;
  const double seconds = best_of(queue_, [&] {
    queue_.launch({"probe", "", "multiply"}, over_columns(kItems, 1),
                  {kTurns, ++seed, At(sums.address())});
  });
  return static_cast<double>(kItems * kTurns * kOperations) / seconds * 1e-9;
}

}  // namespace klens
