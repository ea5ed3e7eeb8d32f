#pragma once
#include <tbb/task_arena.h>

#include <memory>
#include <mutex>
#include <vector>

#include "engine/opencl/lane.h"

namespace klens {

// A device of OpenCL: memory in its buffers, or weights where the host has mapped them; one queue,
// in order.
class OpenClDevice final : public Device {
 public:
  // threads: of the host, for what it does at load. index: see opencl_device(). Throws Error.
  OpenClDevice(int threads, int index);
  // checked: whether programs are run against the CPU before they are used.
  OpenClDevice(int threads, OpenClInfo info, bool checked = true);

  const char* name() const override { return "opencl"; }
  std::string level() const override;
  int threads() const override { return threads_; }
  int64_t launches() const { return queue_.launches(); }
  int64_t replayed() const { return queue_.replayed(); }  // of kernels, so far

  uint64_t allocate(int64_t bytes) override { return queue_.allocate(bytes); }
  void free(uint64_t address, int64_t) noexcept override { queue_.free(address); }
  void zero(uint64_t address, int64_t bytes) override { queue_.zero(address, bytes); }
  void copy(uint64_t from, uint64_t to, int64_t bytes) override { queue_.copy(from, to, bytes); }
  void write(const void* from, uint64_t to, int64_t bytes) override {
    queue_.write(from, to, bytes);
  }
  void read(uint64_t from, void* to, int64_t bytes) const override { queue_.read(from, to, bytes); }

  Adopted adopt(const WeightView& mapped) override;
  // Throws Error where the device does not have what the host has at `mapped`, by a checksum of
  // each part. adopt() asks it where it copies; KLENS_OPENCL_CHECKSUM, on or off, says otherwise.
  void verify(const WeightView& mapped, const WeightView& adopted);
  void fetch(std::span<const std::byte>) override {}  // a copy has been made
  void fill(const Rows& to, const std::function<void(float*)>& make) override;
  void negate_exp(const Rows& x) override;
  int64_t state_bytes(const StateSlot& slot) const override;
  int state_version() const override { return 1; }

  void run(const std::function<void(Lane&)>& work) override;
  void run_jobs(int64_t count, const std::function<void(int64_t, Lane&)>& job) override;
  void prepare(int64_t count, const std::function<void(int64_t)>& job) override;
  double read_bandwidth() override;
  double integer_peak() override;
  void time_steps(StepClock* clock) override { queue_.time(clock); }
  int side_by_side() const override { return 1; }
  bool timed() const { return queue_.timed(); }  // whether commands have the driver note times

 private:
  class Borrowed;

  std::string check(const std::string& family, const std::string& options);
  void verify_part(const void* host, const void* address, int64_t bytes);

  OpenClInfo info_;
  bool verifies_;
  int threads_;
  tbb::task_arena arena_;
  mutable OpenClQueue queue_;
  std::mutex mutex_;  // of idle_
  std::vector<std::unique_ptr<OpenClLane>> idle_;
  size_t lanes_ = 0;  // all there are
};

}  // namespace klens
