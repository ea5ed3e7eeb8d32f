#include "engine/cpu/cpu_device.h"

#include <tbb/info.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <optional>

#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/features.h"

namespace klens {

// More threads than cores only take turns, and tbb would say so on stderr.
int thread_count(int asked) {
  const int cores = tbb::info::default_concurrency();
  return asked > 0 ? std::min(asked, cores) : cores;
}

CpuDevice::CpuDevice(int threads) : threads_(thread_count(threads)), tbb_arena_(threads_) {
  if (threads_ > 1) team_ = std::make_unique<Team>(threads_);
}

std::string CpuDevice::level() const { return cpu::level_name(); }

// Touches weights where the kernel, which maps sixteen pages at a time, will map them: their first
// use would stop for each. MADV_POPULATE_READ takes twice as long.
void CpuDevice::fetch(std::span<const std::byte> mapped) {
  constexpr size_t kStep = 16 * 4096;
  const volatile std::byte* bytes = mapped.data();
  for (size_t at = 0; at < mapped.size(); at += kStep) static_cast<void>(bytes[at]);
}

void CpuDevice::negate_exp(const Rows& x) {
  const int64_t count = x.count() * x.width();
  float* values = floats(x);
  cpu::best_variant(cpu::exp_variants(), cpu::active())
      .run({.x = values,
            .x_stride = count,
            .y = values,
            .y_stride = count,
            .bias = nullptr,
            .tokens = 1,
            .cols = count});
  for (int64_t i = 0; i < count; ++i) values[i] = -values[i];
}

int64_t CpuDevice::state_bytes(const StateSlot& slot) const {
  switch (slot.kind) {
    case StateSlot::Kind::kConv1d:
      return (slot.width - 1) * slot.channels * static_cast<int64_t>(sizeof(float));
    case StateSlot::Kind::kSelectiveScan:
    case StateSlot::Kind::kDeltaRule:
      return slot.states * slot.channels * static_cast<int64_t>(sizeof(float));
    case StateSlot::Kind::kSsd:
      return ssd_state_bytes(slot);
  }
  return 0;
}

class CpuDevice::Borrowed {
 public:
  Borrowed(CpuDevice& device, const Executor& executor) : device_(device) {
    const std::lock_guard lock(device.mutex_);
    if (device.idle_.empty()) {
      device.idle_.reserve(++device.lanes_);  // giving it back cannot fail
      lane_ = std::make_unique<CpuLane>(device, executor);
    } else {
      lane_ = std::move(device.idle_.back());
      device.idle_.pop_back();
      lane_->become(executor);
    }
    frame_.emplace(*lane_);
  }
  ~Borrowed() {
    frame_.reset();
    const std::lock_guard lock(device_.mutex_);
    device_.idle_.push_back(std::move(lane_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  CpuLane& lane() { return *lane_; }

 private:
  CpuDevice& device_;
  std::unique_ptr<CpuLane> lane_;
  std::optional<Lane::Frame> frame_;  // what work takes goes back with the lane
};

bool CpuDevice::fast_bf16() const {
  const cpu::Features have = cpu::active();
  return cpu::covers(have, cpu::kAvx512Bf16) &&
         (cpu::covers(have, cpu::kFastBf16) || cpu::covers(have, cpu::kAmxInt8 | cpu::kAmxBf16));
}

void CpuDevice::run(const std::function<void(Lane&)>& work) {
  Borrowed borrowed(*this, Executor(team_.get(), threads_, clock_));
  work(borrowed.lane());
}

void CpuDevice::run_jobs(int64_t count, const std::function<void(int64_t, Lane&)>& job) {
  tbb_arena_.execute([&] {
    if (threads_ == 1 || count < threads_) {
      Borrowed borrowed(*this, Executor(team_.get(), threads_, clock_));
      for (int64_t i = 0; i < count; ++i) {
        const Lane::Frame frame(borrowed.lane());
        job(i, borrowed.lane());
      }
      return;
    }
    tbb::parallel_for(
        int64_t{0}, count,
        [&](int64_t i) {
          Borrowed borrowed(*this, Executor());
          job(i, borrowed.lane());
        },
        tbb::simple_partitioner());
  });
}

void CpuDevice::prepare(int64_t count, const std::function<void(int64_t)>& job) {
  if (team_)
    team_->run(count, job);
  else
    for (int64_t i = 0; i < count; ++i) job(i);
}

}  // namespace klens
