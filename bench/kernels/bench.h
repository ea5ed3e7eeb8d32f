#pragma once
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>

#include "kernels/cpu/variant.h"

namespace klens::cpu {

using benchmark::Counter;
using benchmark::State;

// 64-byte aligned memory filled with small random numbers of T, which repeat: large ones are soon
// filled.
template <class T>
class Block {
 public:
  explicit Block(int64_t count, float low = -1, float high = 1)
      : data_(static_cast<T*>(std::aligned_alloc(64, (bytes(count) + 63) / 64 * 64))) {
    std::minstd_rand rng(1);
    std::uniform_real_distribution<float> real(low, high);
    const int64_t fresh = std::min<int64_t>(count, 4096);
    for (int64_t i = 0; i < fresh; ++i) data_.get()[i] = static_cast<T>(real(rng));
    for (int64_t i = fresh; i < count; i += fresh)
      std::memcpy(data_.get() + i, data_.get(), bytes(std::min(fresh, count - i)));
  }
  T* data() const { return data_.get(); }

 private:
  static size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(T); }
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

// What one thread of this machine gives at most, measured before the first kernel that asks.
struct Peaks {
  double gflop_s;  // FP32 multiply-adds in registers; one counts two, here as everywhere
  double gop_s;    // 8-bit ones, of the best variant
  double gb_s;     // memory read from end to end
};
const Peaks& peaks();

enum class Arithmetic { kFloat, kInteger };

// Both per iteration, 0 where they say nothing; and each as a share of the machine's. "%memory" can
// be above 100 for what lies in a cache.
void report(State& state, double operations, double bytes,
            Arithmetic arithmetic = Arithmetic::kFloat);

// A benchmark FAMILY/VARIANT/SIZE for every variant that the CPU covers. `operations` per iteration: what
// takes the scalar variant longer than a blink is left out of it.
template <class Fn, class F>
void add(const std::string& family, std::span<const Variant<Fn>> table, const std::string& size,
         F body, double operations = 0) {
  constexpr double kMostOfScalar = 1e8;
  for (const Variant<Fn>& v : table) {
    if (!covers(active(), v.needs)) continue;
    if (v.needs == kBaseline && operations > kMostOfScalar) continue;
    const std::string name = family + "/" + v.name + "/" + size;
    benchmark::RegisterBenchmark(name.c_str(), [body, run = v.run](State& s) {
      body(s, run);
    })->MinTime(0.1);
  }
}

void add_linear();
void add_scan();
void add_attention();
void add_elementwise();

}  // namespace klens::cpu
