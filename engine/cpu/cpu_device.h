#pragma once
#include <tbb/task_arena.h>

#include <atomic>
#include <mutex>

#include "engine/cpu/lane.h"

namespace klens {

// How many threads to use where `asked` are asked for: 0 for one per core this process may use;
// never more than that.
int thread_count(int asked);

// The CPU: memory is the process's, an address is a pointer, weights are read where they are
// mapped.
class CpuDevice final : public Device {
 public:
  // threads: as thread_count().
  explicit CpuDevice(int threads);

  const char* name() const override { return "cpu"; }
  std::string level() const override;
  int threads() const override { return threads_; }
  bool fast_bf16() const override;

  uint64_t allocate(int64_t bytes) override { return memory_.allocate(bytes); }
  void free(uint64_t at, int64_t bytes) noexcept override { memory_.free(at, bytes); }
  void zero(uint64_t at, int64_t bytes) override { memory_.zero(at, bytes); }
  void copy(uint64_t from, uint64_t to, int64_t bytes) override { memory_.copy(from, to, bytes); }
  void write(const void* from, uint64_t to, int64_t bytes) override {
    memory_.write(from, to, bytes);
  }
  void read(uint64_t from, void* to, int64_t bytes) const override {
    memory_.read(from, to, bytes);
  }

  Adopted adopt(const WeightView& mapped) override { return {mapped, nullptr}; }
  void fetch(std::span<const std::byte> mapped) override;
  void fill(const Rows& to, const std::function<void(float*)>& make) override { make(floats(to)); }
  void negate_exp(const Rows& x) override;
  int64_t state_bytes(const StateSlot& slot) const override;
  int state_version() const override { return 1; }

  void run(const std::function<void(Lane&)>& work) override;
  void run_jobs(int64_t count, const std::function<void(int64_t, Lane&)>& job) override;
  void prepare(int64_t count, const std::function<void(int64_t)>& job) override;
  double read_bandwidth() override;
  double integer_peak() override;
  void time_steps(StepClock* clock) override { clock_ = clock; }

 private:
  // A lane keeps its scratch from one run to the next.
  class Borrowed;

  HostSpace memory_;
  int threads_;
  tbb::task_arena tbb_arena_;   // for run_jobs, and what jobs do with oneTBB
  std::unique_ptr<Team> team_;  // for the steps of a pass; null for one thread
  std::atomic<StepClock*> clock_{nullptr};
  std::mutex mutex_;  // of idle_
  std::vector<std::unique_ptr<CpuLane>> idle_;
  size_t lanes_ = 0;  // all there are
};

}  // namespace klens
