// Walks every kernel table and times each variant the CPU covers: GFLOP/s or GOP/s (a multiply-add
// counts two), GB/s of weights or of what the kernel reads and writes, and each as a share of what
// the machine gives in the same run. bench/README.md says how to choose and how long all takes.
#include <immintrin.h>

#include <ctime>

#include "bench/kernels/bench.h"
#include "kernels/cpu/probe/probe.h"

namespace klens::cpu {
namespace {

// Twelve independent chains in registers: as many operations as any kernel could do. On CPUs with
// AVX-512, too, it is what two 256-bit units do, or one of 512.
constexpr int kChains = 12, kSteps = 1000;

__attribute__((target("avx2,fma"))) void multiply_floats() {
  __m256 sum[kChains];
  for (__m256& s : sum) s = _mm256_setzero_ps();
  const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  for (int i = 0; i < kSteps; ++i)
#pragma GCC unroll 12
    for (__m256& s : sum) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(s) : "x"(a), "x"(b));
}

void float_probe(State& state) {
  for (auto _ : state) multiply_floats();
  report(state, 2.0 * 8 * kChains * kSteps, 0);
}

void integer_probe(State& state) {
  double done = 0;
  IntegerProbe* run = best_variant(integer_probe_variants(), active()).run;
  for (auto _ : state) done = static_cast<double>(run(int64_t{1} << 20));
  report(state, 2 * done, 0, Arithmetic::kInteger);
}

const Block<uint8_t>& large() {
  static const Block<uint8_t> memory(int64_t{256} << 20, 0, 255);
  return memory;
}

void read_probe(State& state) {
  ReadProbe* run = best_variant(read_probe_variants(), active()).run;
  for (auto _ : state) benchmark::DoNotOptimize(run(large().data(), int64_t{256} << 20));
  report(state, 0, static_cast<double>(int64_t{256} << 20));
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Units per second of the best of some calls, each of some milliseconds; by CPU time, as Google
// Benchmark counts.
template <class Call>
double best_rate(double units, const Call& call) {
  double best = 0;
  for (int i = 0; i < 20; ++i) {
    const double begin = cpu_seconds();
    call();
    best = std::max(best, units / (cpu_seconds() - begin));
  }
  return best;
}

Peaks measured_peaks() {
  constexpr int64_t kMultiplyAdds = int64_t{1} << 24;
  Peaks peaks{};
  if (covers(active(), kAvx2))
    peaks.gflop_s = best_rate(2.0 * 8 * kChains * kSteps * 100,
                              [] {
                                for (int i = 0; i < 100; ++i) multiply_floats();
                              }) /
                    1e9;
  IntegerProbe* multiply = best_variant(integer_probe_variants(), active()).run;
  peaks.gop_s =
      best_rate(2.0 * kMultiplyAdds, [&] { benchmark::DoNotOptimize(multiply(kMultiplyAdds)); }) /
      1e9;
  ReadProbe* read = best_variant(read_probe_variants(), active()).run;
  peaks.gb_s =
      best_rate(static_cast<double>(int64_t{256} << 20),
                [&] { benchmark::DoNotOptimize(read(large().data(), int64_t{256} << 20)); }) /
      1e9;
  return peaks;
}

}  // namespace

const Peaks& peaks() {
  static const Peaks measured = measured_peaks();
  return measured;
}

void report(State& state, double operations, double bytes, Arithmetic arithmetic) {
  const auto n = static_cast<double>(state.iterations());
  const auto rate = [&](const char* name, double units) {
    state.counters[name] = Counter(units * n, Counter::kIsRate);
  };
  if (operations > 0) {
    const bool floats = arithmetic == Arithmetic::kFloat;
    const double peak = floats ? peaks().gflop_s : peaks().gop_s;
    rate(floats ? "GFLOP/s" : "GOP/s", operations / 1e9);
    if (peak > 0) rate("%peak", operations / 1e9 / peak * 100);
  }
  if (bytes > 0) {
    rate("GB/s", bytes / 1e9);
    rate("%memory", bytes / 1e9 / peaks().gb_s * 100);
  }
}

}  // namespace klens::cpu

int main(int argc, char** argv) {
  using namespace klens::cpu;
  if (covers(active(), kAvx2)) benchmark::RegisterBenchmark("probe/float", float_probe);
  benchmark::RegisterBenchmark("probe/integer", integer_probe);
  benchmark::RegisterBenchmark("probe/read", read_probe);
  add_linear();
  add_scan();
  add_attention();
  add_elementwise();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
