#pragma once
// What operation cases are made of; for their files alone.
#include <cfloat>
#include <cmath>
#include <deque>
#include <random>

#include "engine/device/operation_cases.h"

namespace klens::cases {

constexpr double kEps = FLT_EPSILON;

using Values = std::vector<double>;
using Floats = std::vector<float>;

inline double exact(double, double) { return 0; }

// Random numbers, and where on a device they are: the same for each device.
class Bench {
 public:
  Bench(Device& device, Lane& lane, uint32_t seed, bool magnitudes)
      : device_(device), lane_(lane), random_(seed), magnitudes_(magnitudes) {}

  Lane& lane() const { return lane_; }
  Device& device() const { return device_; }

  Floats numbers(int64_t count, float low, float high) {
    std::uniform_real_distribution<float> draw(low, high);
    Floats all;
    for (int64_t i = 0; i < count; ++i) {
      const float x = draw(random_);
      all.push_back(magnitudes_ ? std::fabs(x) : x);
    }
    return all;
  }
  // Rows that lie apart by more than their width, and begin within a line.
  Rows rows(int64_t count, int64_t width, float low = -1, float high = 1) {
    const Rows all = empty(count, width + 5).columns(3, width);
    lane_.write(numbers(count * width, low, high).data(), all);
    return all;
  }
  // One after the other, as constants are.
  Rows table(int64_t count, int64_t width, float low = -1, float high = 1) {
    const Rows all = empty(count, width);
    lane_.write(numbers(count * width, low, high).data(), all);
    return all;
  }
  Rows empty(int64_t count, int64_t width) {
    memory_.emplace_back(device_, count * width * static_cast<int64_t>(sizeof(float)));
    return {memory_.back().address(), count, width};
  }
  void give(const Rows& x) {
    const float* from = lane_.host(x);
    values.insert(values.end(), from, from + x.count() * x.width());
  }
  int64_t below(int64_t count) {
    return std::uniform_int_distribution<int64_t>(0, count - 1)(random_);
  }

  Values values;

 private:
  Device& device_;
  Lane& lane_;
  std::mt19937 random_;
  bool magnitudes_;
  std::deque<Memory> memory_;
};

template <class Body>
OperationCase make_case(std::string what, uint32_t seed,
                        std::function<double(double, double)> bound, const Body& body) {
  return {std::move(what),
          [seed, body](Device& device, bool magnitudes) {
            Values values;
            device.run([&](Lane& lane) {
              Bench bench(device, lane, seed, magnitudes);
              body(bench);
              values = std::move(bench.values);
            });
            return values;
          },
          std::move(bound)};
}

inline std::string sizes_of(const char* name, const CaseSizes& s) {
  return std::string(name) + " of " + std::to_string(s.tokens) + " x " + std::to_string(s.width);
}

// A sequence's state of one slot or cache, and calls over its tokens: most at once, some, one.
template <class Call>
void over_calls(Bench& bench, SequenceState& state, int64_t tokens, const Call& call) {
  int64_t position = 0;
  for (const int64_t count : {tokens, std::max<int64_t>(tokens / 2, 1), int64_t{1}, int64_t{1}}) {
    const Sequence sequence{.state = &state,
                            .row = 0,
                            .tokens = count,
                            .position = position,
                            .horizon = position + count};
    call(bench, Batch({&sequence, 1}), count);
    position += count;
  }
}

// Gives x, which an operation has just made and which a linear layer of 8-bit activations takes
// next: a device may round it where it is made. And how many outputs have other bits where it is
// rounded later: none.
void give_rounded(Bench& bench, const Rows& x, int planes = 1);

}  // namespace klens::cases
