// What this machine gives to all threads of a device at once.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "engine/cpu/cpu_device.h"
#include "kernels/cpu/probe/probe.h"

namespace klens {
namespace {

using Clock = std::chrono::steady_clock;

// Runs prepare(thread) and then, several times, pass(thread) in every thread at once, split ahead
// of time and with threads of its own: what is measured is the machine, not how work is handed out.
// Seconds of each pass, from its start to the end of the last thread, shortest first.
template <class Prepare, class Pass>
std::vector<double> time_passes(int threads, int passes, const Prepare& prepare, const Pass& pass) {
  std::barrier together(threads);
  std::vector<double> seconds;
  const auto run = [&](int thread) {
    prepare(thread);
    for (int p = 0; p < passes; ++p) {
      together.arrive_and_wait();
      const Clock::time_point begin = Clock::now();
      pass(thread);
      together.arrive_and_wait();
      if (thread == 0)
        seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
  };
  std::vector<std::jthread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  others.clear();
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

// The median of several passes, as other users of the same memory come and go.
double CpuDevice::read_bandwidth() {
  const int threads = threads_;
  constexpr int kPasses = 9;
  constexpr int64_t kBytes = int64_t{256} << 20;  // far more than any cache
  const int64_t part = kBytes / threads / cpu::kReadProbeBytes * cpu::kReadProbeBytes;
  std::vector<std::unique_ptr<void, Free>> parts;
  for (int thread = 0; thread < threads; ++thread) {
    parts.emplace_back(std::aligned_alloc(cpu::kReadProbeBytes, static_cast<size_t>(part)));
    if (parts.back() == nullptr) throw std::bad_alloc();
  }
  std::vector<uint64_t> sums(parts.size());
  cpu::ReadProbe* probe = cpu::best_variant(cpu::read_probe_variants(), cpu::active()).run;
  const std::vector<double> seconds = time_passes(
      threads, kPasses,
      [&](int thread) {  // each thread is the first to touch its own part
        std::memset(parts[static_cast<size_t>(thread)].get(), 1, static_cast<size_t>(part));
      },
      [&](int thread) {
        sums[static_cast<size_t>(thread)] = probe(parts[static_cast<size_t>(thread)].get(), part);
      });
  return static_cast<double>(part * threads) / seconds[kPasses / 2] / 1e9;
}

// Of the best variant, the best of several passes.
double CpuDevice::integer_peak() {
  const int threads = threads_;
  cpu::IntegerProbe* multiply = cpu::best_variant(cpu::integer_probe_variants(), cpu::active()).run;
  const auto nothing = [](int) {};
  // Long enough that starting together does not count: some milliseconds.
  int64_t asked = cpu::kIntegerProbeRound, done = 0;
  const auto pass = [&](int thread) {
    const int64_t count = multiply(asked);
    if (thread == 0) done = count;
  };
  while (time_passes(1, 1, nothing, pass).front() < 5e-3) asked *= 2;
  const double seconds = time_passes(threads, 10, nothing, pass).front();
  return 2.0 * static_cast<double>(done) * threads / seconds / 1e9;
}

}  // namespace klens
