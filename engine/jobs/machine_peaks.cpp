#include "engine/jobs/machine_peaks.h"

#include <barrier>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "kernels/cpu/probe/probe.h"

namespace klens {
namespace {

using Clock = std::chrono::steady_clock;

// Runs prepare(thread) and then, several times, pass(thread) in every thread at once, split ahead
// of time and with threads of its own: what is measured is the machine, not how work is handed out.
// Seconds of the shortest pass, from its start to the end of the last thread.
template <class Prepare, class Pass>
double best_pass(int threads, int passes, const Prepare& prepare, const Pass& pass) {
  std::barrier together(threads);
  double best = 0;
  const auto run = [&](int thread) {
    prepare(thread);
    for (int p = 0; p < passes; ++p) {
      together.arrive_and_wait();
      const Clock::time_point begin = Clock::now();
      pass(thread);
      together.arrive_and_wait();
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      if (thread == 0 && (p == 0 || seconds < best)) best = seconds;
    }
  };
  std::vector<std::jthread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  others.clear();
  return best;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

double read_bandwidth(int threads) {
  constexpr int64_t kBytes = int64_t{256} << 20;  // far more than any cache
  const int64_t part = kBytes / threads / cpu::kReadProbeBytes * cpu::kReadProbeBytes;
  std::vector<std::unique_ptr<void, Free>> parts;
  for (int thread = 0; thread < threads; ++thread) {
    parts.emplace_back(std::aligned_alloc(cpu::kReadProbeBytes, static_cast<size_t>(part)));
    if (parts.back() == nullptr) throw std::bad_alloc();
  }
  std::vector<uint64_t> sums(parts.size());
  cpu::ReadProbe* read = cpu::best_variant(cpu::read_probe_variants(), cpu::active()).run;
  const double seconds = best_pass(
      threads, 20,
      [&](int thread) {  // each thread is the first to touch its own part
        std::memset(parts[static_cast<size_t>(thread)].get(), 1, static_cast<size_t>(part));
      },
      [&](int thread) {
        sums[static_cast<size_t>(thread)] = read(parts[static_cast<size_t>(thread)].get(), part);
      });
  return static_cast<double>(part * threads) / seconds / 1e9;
}

double integer_peak(int threads) {
  cpu::IntegerProbe* multiply = cpu::best_variant(cpu::integer_probe_variants(), cpu::active()).run;
  const auto nothing = [](int) {};
  // Long enough that starting together does not count: some milliseconds.
  int64_t asked = cpu::kIntegerProbeRound, done = 0;
  const auto pass = [&](int thread) {
    const int64_t count = multiply(asked);
    if (thread == 0) done = count;
  };
  while (best_pass(1, 1, nothing, pass) < 5e-3) asked *= 2;
  const double seconds = best_pass(threads, 10, nothing, pass);
  return 2.0 * static_cast<double>(done) * threads / seconds / 1e9;
}

}  // namespace

MachinePeaks machine_peaks(int threads, Progress& progress) {
  progress.stage("machine", 2);
  MachinePeaks peaks;
  peaks.read_gb_s = read_bandwidth(threads);
  progress.step();
  peaks.integer_gop_s = integer_peak(threads);
  progress.step();
  return peaks;
}

}  // namespace klens
