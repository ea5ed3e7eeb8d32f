// Walks every kernel table and times each row the CPU covers: GFLOP/s (a multiply-add counts two;
// integer kernels likewise), and GB/s of weights or of what the kernel reads and writes. Two probes
// of the same run say what the machine gives: probe/fma and probe/read.
//
//   klens_bench_kernels --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
//   klens_bench_kernels --benchmark_filter=linear_f32/avx2
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/conv1d/conv1d.h"
#include "kernels/cpu/divergence/divergence.h"
#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/elementwise/gated.h"
#include "kernels/cpu/linear/linear_f32.h"
#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/cpu/rope/rope.h"
#include "kernels/cpu/scan/selective_scan.h"
#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {
namespace {

using benchmark::Counter;
using benchmark::State;

// 64-byte aligned memory filled with small random numbers of T.
template <class T>
class Block {
 public:
  explicit Block(int64_t count, float low = -1, float high = 1)
      : data_(static_cast<T*>(std::aligned_alloc(64, (bytes(count) + 63) / 64 * 64))) {
    std::minstd_rand rng(1);
    std::uniform_real_distribution<float> real(low, high);
    for (int64_t i = 0; i < count; ++i) data_.get()[i] = static_cast<T>(real(rng));
  }
  T* data() const { return data_.get(); }

 private:
  static size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(T); }
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

// Both per iteration.
void report(State& state, double operations, double bytes) {
  const auto n = static_cast<double>(state.iterations());
  if (operations > 0) state.counters["GFLOP/s"] = Counter(operations * n / 1e9, Counter::kIsRate);
  if (bytes > 0) state.counters["GB/s"] = Counter(bytes * n / 1e9, Counter::kIsRate);
}

template <class Fn, class F>
void add(const std::string& family, std::span<const Variant<Fn>> table, const std::string& size,
         F body) {
  for (const Variant<Fn>& v : table) {
    if (!covers(active(), v.needs)) continue;
    const std::string name = family + "/" + v.name + "/" + size;
    benchmark::RegisterBenchmark(name.c_str(), [body, run = v.run](State& s) { body(s, run); });
  }
}

// Twelve independent chains in registers: what the linear kernels could reach at most.
__attribute__((target("avx2,fma"))) void fma_probe(State& state) {
  constexpr int kSteps = 1000;
  __m256 sum[12];
  for (__m256& s : sum) s = _mm256_setzero_ps();
  __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  for (auto _ : state) {
    for (int i = 0; i < kSteps; ++i) {
      __asm__ volatile("" : "+x"(a), "+x"(b));  // or the chains would be folded
      for (__m256& s : sum) s = _mm256_fmadd_ps(a, b, s);
    }
  }
  for (__m256& s : sum) benchmark::DoNotOptimize(s);
  report(state, 2.0 * 8 * 12 * kSteps, 0);
}

__attribute__((target("avx2"))) void read_probe(State& state) {
  constexpr int64_t kCount = int64_t{256} << 20;
  static const Block<uint8_t> memory(kCount, 0, 255);
  for (auto _ : state) {
    __m256i s[4] = {};
    const auto* p = reinterpret_cast<const __m256i*>(memory.data());
    for (int64_t i = 0; i < kCount / 32; i += 4)
      for (int j = 0; j < 4; ++j) s[j] = _mm256_add_epi8(s[j], _mm256_load_si256(p + i + j));
    for (__m256i& e : s) benchmark::DoNotOptimize(e);
  }
  report(state, 0, kCount);
}

const char* layout_name(Layout layout) {
  switch (layout) {
    case Layout::kRowsF32:
      return "rows_f32";
    case Layout::kRowsF16:
      return "rows_f16";
    case Layout::kRowsBf16:
      return "rows_bf16";
    case Layout::kTilesF16:
      return "tiles_f16";
    case Layout::kTilesI8:
      return "tiles_i8";
    case Layout::kTilesI4:
      return "tiles_i4";
  }
  return "?";
}

int64_t weight_bytes(Layout layout, int64_t rows, int64_t cols) {
  switch (layout) {
    case Layout::kRowsF32:
      return rows * cols * 4;
    case Layout::kRowsF16:
    case Layout::kRowsBf16:
      return rows * cols * 2;
    default:
      return static_cast<int64_t>(tiles_bytes(layout, rows, cols));
  }
}

std::string shape_name(Layout layout, int64_t rows, int64_t cols, int64_t tokens) {
  return std::string(layout_name(layout)) + "/" + std::to_string(rows) + "x" +
         std::to_string(cols) + "/t" + std::to_string(tokens);
}

// Any bytes serve as weights but for numbers that would be slow or not finite: the half 0x2c2c and
// the int8 pair 44, 44 are as good as any.
struct Weight {
  Block<uint8_t> data;
  Block<uint16_t> scale;
  WeightView view;

  Weight(Layout layout, int64_t rows, int64_t cols, int64_t group)
      : data(weight_bytes(layout, rows, cols), 44, 44.5f),
        scale((rows + 15) / 16 * 16 * ((cols + group - 1) / group), 0x2c00, 0x2c01),
        view{layout, rows, cols, group, data.data(), scale.data()} {}
};

struct Shape {
  int64_t rows, cols, tokens;
};

// Prefill of one chunk; decoding from cache; decoding from memory.
constexpr Shape kLinearShapes[] = {{1024, 256, 256}, {4096, 256, 256}, {2048, 1536, 256},
                                   {1536, 768, 1},   {1536, 768, 4},   {50280, 1024, 1}};

void add_linear_f32() {
  for (const Layout layout : {Layout::kRowsF32, Layout::kRowsF16, Layout::kRowsBf16,
                              Layout::kTilesF16, Layout::kTilesI8, Layout::kTilesI4})
    for (const Shape& s : kLinearShapes)
      add("linear_f32", linear_f32_variants(), shape_name(layout, s.rows, s.cols, s.tokens),
          [=](State& state, LinearF32* run) {
            const Weight w(layout, s.rows, s.cols, 128);
            const Block<float> x(s.tokens * s.cols), y(s.tokens * s.rows);
            const LinearF32Args a{w.view, x.data(), s.cols, y.data(),
                                  s.rows, s.tokens, 0,      w.view.row_tiles()};
            for (auto _ : state) run(a);
            report(state, 2.0 * static_cast<double>(s.rows * s.cols * s.tokens),
                   static_cast<double>(weight_bytes(layout, s.rows, s.cols)));
          });
}

void add_linear_i8() {
  for (const Layout layout : {Layout::kTilesI8, Layout::kTilesI4})
    for (const Shape& s : kLinearShapes)
      add("linear_i8", linear_i8_variants(), shape_name(layout, s.rows, s.cols, s.tokens),
          [=](State& state, LinearI8* run) {
            const Weight w(layout, s.rows, s.cols, 128);
            const int64_t groups = w.view.groups();
            const Block<int8_t> x(s.tokens * s.cols, -127, 127);
            const Block<float> scale(s.tokens * groups), y(s.tokens * s.rows);
            const Block<int32_t> sum(s.tokens * groups, -1000, 1000);
            const LinearI8Args a{
                w.view, x.data(), s.cols, scale.data(),      sum.data(), 128, y.data(),
                s.rows, s.tokens, 0,      w.view.row_tiles()};
            for (auto _ : state) run(a);
            report(state, 2.0 * static_cast<double>(s.rows * s.cols * s.tokens),
                   static_cast<double>(weight_bytes(layout, s.rows, s.cols)));
          });
}

const char* kv_name(KvType type) {
  return type == KvType::kF32 ? "f32" : type == KvType::kF16 ? "f16" : "i8";
}

void add_small() {
  for (const int64_t tokens : {1, 256}) {
    const std::string size = "1536/t" + std::to_string(tokens);
    constexpr int64_t kCols = 1536;
    const int64_t count = tokens * kCols;
    const auto bytes = static_cast<double>(count);
    add("quantize_activations", quantize_activations_variants(), size,
        [=](State& state, QuantizeActivations* run) {
          const Block<float> x(count), scale(count);
          const Block<int8_t> q(count);
          const Block<int32_t> sum(count);
          for (auto _ : state)
            run({x.data(), kCols, tokens, kCols, 128, q.data(), kCols, scale.data(), sum.data()});
          report(state, 0, 5 * bytes);
        });
    add("rms_norm", rms_norm_variants(), size, [=](State& state, RmsNorm* run) {
      const Block<float> x(count), y(count), w(kCols);
      for (auto _ : state) run({x.data(), kCols, y.data(), kCols, w.data(), tokens, kCols, 1e-5f});
      report(state, 0, 8 * bytes);
    });
    add("conv1d", conv1d_variants(), size, [=](State& state, Conv1d* run) {
      const Block<float> x(count), y(count), w(4 * kCols), b(kCols), s(3 * kCols);
      for (auto _ : state)
        run({x.data(), kCols, y.data(), kCols, w.data(), b.data(), s.data(), tokens, kCols, 4, 0,
             kCols});
      report(state, 0, 8 * bytes);
    });
    // Elements per second in place of GFLOP/s: a step of one state is one exponential.
    add("selective_scan", selective_scan_variants(), size + "/s16",
        [=](State& state, SelectiveScan* run) {
          constexpr int64_t kStates = 16;
          const Block<float> x(count), dt(count, 0.001f, 0.1f), z(count), y(count), d(kCols);
          const Block<float> b(tokens * kStates), c(tokens * kStates), a(kCols * kStates, -8, -1);
          const Block<float> h(kCols * kStates);
          for (auto _ : state)
            run({x.data(), kCols, dt.data(), kCols, z.data(), kCols, b.data(), c.data(), kStates,
                 a.data(), d.data(), h.data(), y.data(), kCols, tokens, kCols, kStates, 0, kCols});
          report(state, 0, 16 * bytes);
          state.counters["Gstep/s"] = Counter(
              bytes * kStates * static_cast<double>(state.iterations()) / 1e9, Counter::kIsRate);
        });
    const auto elementwise = [=](State& state, Elementwise* run) {
      const Block<float> x(count, -5, 5), y(count);
      for (auto _ : state) run({x.data(), kCols, y.data(), kCols, nullptr, tokens, kCols});
      report(state, 0, 8 * bytes);
    };
    add("exp", exp_variants(), size, elementwise);
    add("silu", silu_variants(), size, elementwise);
    add("softplus", softplus_variants(), size, elementwise);
    add("gelu", gelu_variants(), size, elementwise);
    add("relu2", relu2_variants(), size, elementwise);
    const auto gated = [=](State& state, Gated* run) {
      const Block<float> gate(count, -5, 5), up(count), y(count);
      for (auto _ : state)
        run({gate.data(), kCols, 1, up.data(), kCols, y.data(), kCols, tokens, kCols});
      report(state, 0, 12 * bytes);
    };
    add("gated_silu", gated_silu_variants(), size, gated);
    add("gated_gelu", gated_gelu_variants(), size, gated);
    add("rope", rope_variants(), "24x64/t" + std::to_string(tokens), [=](State& state, Rope* run) {
      const Block<float> x(count), angle(32 * tokens);  // numbers below one stay below one
      for (auto _ : state) run({x.data(), kCols, angle.data(), angle.data(), tokens, 24, 64, 32});
      report(state, 0, 8 * bytes);
    });
    for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kI8})
      add("store_kv", store_kv_variants(), std::string(kv_name(type)) + "/" + size,
          [=](State& state, StoreKv* run) {
            const Block<float> x(count), scale(count / 64), to(count);
            for (auto _ : state)
              run({x.data(), kCols, type, to.data(), scale.data(), tokens, kCols / 64, 64});
            report(state, 0, bytes * static_cast<double>(4 + kv_element_bytes(type)));
          });
  }
  constexpr int64_t kVocab = 50280;
  add("divergence", divergence_variants(), "50280", [](State& state, DivergenceFn* run) {
    const Block<float> z(kVocab, -10, 10), zq(kVocab, -10, 10);
    for (auto _ : state) benchmark::DoNotOptimize(run({z.data(), zq.data(), kVocab}));
    report(state, 0, 8.0 * kVocab);
  });
  add("log_sum_exp", log_sum_exp_variants(), "50280", [](State& state, LogSumExpFn* run) {
    const Block<float> z(kVocab, -10, 10);
    for (auto _ : state) benchmark::DoNotOptimize(run(z.data(), kVocab));
    report(state, 0, 4.0 * kVocab);
  });
}

// Operations of the recurrence, whatever way a row takes: it updates and reads every state.
void add_ssd_scan() {
  constexpr int64_t kHeads = 24, kDim = 64, kStates = 128, kCols = kHeads * kDim;
  for (const int64_t tokens : {1, 2, 4, 8, 16, 64, 256})
    add("ssd_scan", ssd_scan_variants(), "24x64/s128/t" + std::to_string(tokens),
        [=](State& state, SsdScan* run) {
          const Block<float> x(tokens * kCols), y(tokens * kCols),
              dt(tokens * kHeads, 0.001f, 0.1f);
          const Block<float> b(tokens * kStates), c(tokens * kStates), a(kHeads, -8, -1), d(kHeads);
          const Block<float> h(kCols * kStates);
          SsdScanArgs args{x.data(), kCols,    dt.data(), kHeads,   b.data(), c.data(), kStates,
                           a.data(), d.data(), h.data(),  y.data(), kCols,    tokens,   kHeads,
                           kDim,     1,        kStates,   0,        kHeads,   nullptr};
          const Block<float> work(ssd_scan_work(args));
          args.work = work.data();
          for (auto _ : state) run(args);
          report(state, 5.0 * static_cast<double>(tokens * kCols * kStates), 8.0 * kCols * kStates);
        });
}

struct AttentionShape {
  int64_t position, tokens, heads, kv_heads, dim;
};

// Prefill from nothing and after 1024 tokens; decoding. GB/s of keys and values.
void add_attention() {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kI8})
    for (const AttentionShape& s : {AttentionShape{0, 256, 25, 5, 64},
                                    {1024, 256, 25, 5, 64},
                                    {1023, 1, 25, 5, 64},
                                    {8191, 1, 25, 5, 64},
                                    {8191, 1, 16, 16, 64},
                                    {1023, 1, 32, 32, 128}}) {
      const std::string name = std::string(kv_name(type)) + "/" + std::to_string(s.heads) + "of" +
                               std::to_string(s.kv_heads) + "x" + std::to_string(s.dim) + "/p" +
                               std::to_string(s.position) + "/t" + std::to_string(s.tokens);
      add("attention", attention_variants(), name, [=](State& state, Attention* run) {
        const int64_t keys = s.position + s.tokens, count = keys * s.kv_heads * s.dim;
        const int64_t bytes = count * kv_element_bytes(type), cols = s.heads * s.dim;
        const Block<uint8_t> k(bytes, 44, 44.5f), v(bytes, 44, 44.5f);
        const Block<float> scale(keys * s.kv_heads), q(s.tokens * cols), y(s.tokens * cols);
        const KvSegment segment{k.data(), v.data(), scale.data(), scale.data(), keys, 0};
        AttentionArgs a{q.data(), cols,       type,     &segment,   1,          0.125f, INT64_MAX,
                        0,        s.position, s.tokens, s.heads,    s.kv_heads, s.dim,  s.dim,
                        y.data(), cols,       0,        s.kv_heads, nullptr};
        const Block<float> work(attention_work(a));
        a.work = work.data();
        for (auto _ : state) run(a);
        const double pairs = static_cast<double>(s.tokens) *
                             (static_cast<double>(s.position) + (s.tokens + 1) / 2.0);
        report(state, 4.0 * pairs * static_cast<double>(cols), 2.0 * static_cast<double>(bytes));
      });
    }
}

}  // namespace
}  // namespace klens::cpu

int main(int argc, char** argv) {
  using namespace klens::cpu;
  if (covers(detect(), kAvx2)) {
    benchmark::RegisterBenchmark("probe/fma", fma_probe);
    benchmark::RegisterBenchmark("probe/read", read_probe);
  }
  add_linear_f32();
  add_linear_i8();
  add_small();
  add_ssd_scan();
  add_attention();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
