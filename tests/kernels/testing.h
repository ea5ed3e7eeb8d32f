#pragma once
#include <catch2/catch.hpp>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/variant.h"
#include "kernels/half.h"
#include "kernels/weights.h"

namespace klens::testing {

constexpr double kEps = FLT_EPSILON;

// A heap block of exactly `count` elements, 64-byte aligned at its start plus `offset` elements, so
// that AddressSanitizer sees one byte too many, and unaligned rows are really unaligned.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count, int64_t offset = 0) : count_(count), offset_(offset) {
    const size_t bytes = static_cast<size_t>(count + offset) * sizeof(T);
    if (posix_memalign(&block_, 64, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
    std::memset(block_, 0, bytes);
  }
  Buffer(const Buffer& other) : Buffer(other.count_, other.offset_) {
    std::memcpy(data(), other.data(), bytes());
  }
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(block_); }

  T* data() const { return static_cast<T*>(block_) + offset_; }
  T& operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return count_; }
  size_t bytes() const { return static_cast<size_t>(count_) * sizeof(T); }
  void fill(T value) {
    for (int64_t i = 0; i < count_; ++i) data()[i] = value;
  }
  bool same_bits(const Buffer& other) const {
    return count_ == other.count_ && std::memcmp(data(), other.data(), bytes()) == 0;
  }

 private:
  void* block_ = nullptr;
  int64_t count_, offset_;
};

// Marks memory that must not be written: a NaN no arithmetic produces.
inline const float kPoison = std::bit_cast<float>(0x7fedcba9u);
inline bool poisoned(float f) { return std::bit_cast<uint32_t>(f) == 0x7fedcba9u; }

using Rng = std::mt19937;

inline float uniform(Rng& rng, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(rng);
}

inline int uniform_int(Rng& rng, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(rng);
}

inline void fill_uniform(const Buffer<float>& b, Rng& rng, float low, float high) {
  for (int64_t i = 0; i < b.size(); ++i) b[i] = uniform(rng, low, high);
}

// Elements of a [rows][cols] array with rows `stride` apart and nothing after the last column.
constexpr int64_t strided(int64_t rows, int64_t cols, int64_t stride) {
  return rows == 0 ? 0 : (rows - 1) * stride + cols;
}

// What can be tested: also products of BF16 that are slower than those of FP32.
inline cpu::Features testable(cpu::Features have) {
  return cpu::covers(have, cpu::kAvx512Bf16) ? have | cpu::kFastBf16 : have;
}

// Calls f for each variant that this machine covers, and says aloud what it skips.
template <class Fn, class F>
void for_each_variant(std::span<const cpu::Variant<Fn>> table, F f) {
  for (const cpu::Variant<Fn>& v : table) {
    if (!cpu::covers(testable(cpu::active()), v.needs)) {
      std::printf("skip %s: %s\n", v.name,
                  cpu::covers(testable(cpu::detect()), v.needs) ? "KLENS_ISA leaves it out"
                                                                : "this CPU lacks it");
      continue;
    }
    INFO("row " << v.name);
    f(v);
  }
}

// The variants that this machine covers, for a test that makes each case, and what is wanted of it,
// once for all of them.
template <class Fn>
std::vector<const cpu::Variant<Fn>*> runnable(std::span<const cpu::Variant<Fn>> table) {
  std::vector<const cpu::Variant<Fn>*> variants;
  for_each_variant(table, [&](const cpu::Variant<Fn>& v) { variants.push_back(&v); });
  return variants;
}

// The elements of a list in turn, over and over. Lists whose lengths have no common factor meet in
// every pair, without the product of all of them.
template <size_t N>
struct Turns {
  int64_t list[N];
  size_t next = 0;
  int64_t operator()() { return list[next++ % N]; }
};

// Every table ends in its specification.
template <class Fn>
const cpu::Variant<Fn>& specification(std::span<const cpu::Variant<Fn>> table) {
  return table.back();
}

// Collects mismatches of one comparison and reports the first.
class Mismatches {
 public:
  void check(bool ok, const std::string& what) {
    if (!ok && count_++ == 0) first_ = what;
  }
  void near(double got, double want, double bound, const std::string& where) {
    if (std::fabs(got - want) <= bound) return;
    char text[160];
    std::snprintf(text, sizeof text, ": got %.9g want %.9g bound %.3g", got, want, bound);
    check(false, where + text);
  }
  ~Mismatches() noexcept(false) {
    if (count_ != 0) FAIL_CHECK(count_ << " mismatches, first: " << first_);
  }

 private:
  int64_t count_ = 0;
  std::string first_;
};

// "[i][j]"
std::string at(int64_t i, int64_t j);

inline const char* layout_name(Layout layout) {
  switch (layout) {
    case Layout::kRowsF32:
      return "rows f32";
    case Layout::kRowsF16:
      return "rows f16";
    case Layout::kRowsBf16:
      return "rows bf16";
    case Layout::kTilesF16:
      return "tiles f16";
    case Layout::kTilesI8:
      return "tiles i8";
    case Layout::kTilesI4:
      return "tiles i4";
    case Layout::kTilesI5:
      return "tiles i5";
    case Layout::kTilesI6:
      return "tiles i6";
    case Layout::kTilesI2:
      return "tiles i2";
    case Layout::kTilesI3:
      return "tiles i3";
  }
  return "?";
}

// A layout, and whether its groups have minima.
struct Kind {
  Layout layout;
  bool minima = false;
};

inline constexpr Kind kKinds[] = {
    {Layout::kRowsF32},       {Layout::kRowsF16},       {Layout::kRowsBf16},
    {Layout::kTilesF16},      {Layout::kTilesI8},       {Layout::kTilesI4},
    {Layout::kTilesI5},       {Layout::kTilesI6},       {Layout::kTilesI4, true},
    {Layout::kTilesI5, true}, {Layout::kTilesI6, true}, {Layout::kTilesI2},
    {Layout::kTilesI3},       {Layout::kTilesI2, true}, {Layout::kTilesI3, true}};
inline constexpr std::span<const Kind> kIntegerKinds = std::span(kKinds).subspan(4);

std::string kind_name(const WeightView& w);

// The least and the greatest integer of an integer layout.
int least_integer(const WeightView& w);
int greatest_integer(const WeightView& w);

// Stores an integer, with what the comment of weights.h says of its bits.
void put_integer(const WeightView& w, uint8_t* data, int64_t row, int64_t col, int value);

// A weight matrix of random numbers with its memory.
struct RandomWeight {
  Buffer<uint8_t> data;
  Buffer<uint16_t> scale, min;
  Buffer<int32_t> integers;  // [rows][cols], of integer layouts
  WeightView view;

  RandomWeight(Kind kind, int64_t rows, int64_t cols, int64_t group, Rng& rng);
};

}  // namespace klens::testing
