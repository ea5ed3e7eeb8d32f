#pragma once
#include <atomic>
#include <map>
#include <string>

#include "engine/devices.h"

namespace klens::testing {

// What lanes of a device that computes nothing were asked for.
struct Counts {
  std::map<std::string, int64_t> operations;  // by name
  int64_t floats = 0;                         // that they write
  int64_t all() const {
    int64_t sum = 0;
    for (const auto& [name, count] : operations) sum += count;
    return sum;
  }
};

// Logits of a NullDevice are all this.
inline constexpr float kNullValue = 0.25f;

// A device without memory of its own: addresses are numbers that nothing lies under. All it does is
// to count; what is read from it is kNullValue. That models run on it shows that nothing but
// devices looks at activations.
class NullDevice : public Device {
 public:
  Counts counts;

  const char* name() const override { return "null"; }
  std::string level() const override { return "none"; }
  int threads() const override { return 1; }

  uint64_t allocate(int64_t bytes) override {
    const uint64_t at = next_;
    next_ += static_cast<uint64_t>((bytes + 63) / 64 * 64);
    return at;
  }
  void free(uint64_t, int64_t) noexcept override {}
  void zero(uint64_t, int64_t) override {}
  void copy(uint64_t, uint64_t, int64_t) override {}
  void write(const void*, uint64_t, int64_t) override {}
  void read(uint64_t, void* host, int64_t bytes) const override {
    std::fill_n(static_cast<char*>(host), bytes, char{0});
  }
  Adopted adopt(const WeightView& mapped) override { return {mapped, nullptr}; }
  void fetch(std::span<const std::byte>) override {}
  void fill(const Rows&, const std::function<void(float*)>&) override {}
  void negate_exp(const Rows&) override {}
  int64_t state_bytes(const StateSlot& slot) const override {
    return slot.channels * std::max(slot.width, slot.states) * 4;
  }
  int state_version() const override { return 1; }
  void run(const std::function<void(Lane&)>& work) override;
  void run_jobs(int64_t count, const std::function<void(int64_t, Lane&)>& job) override {
    for (int64_t i = 0; i < count; ++i) run([&](Lane& lane) { job(i, lane); });
  }
  void prepare(int64_t count, const std::function<void(int64_t)>& job) override {
    for (int64_t i = 0; i < count; ++i) job(i);
  }
  double read_bandwidth() override { return 1; }
  double integer_peak() override { return 1; }
  void time_steps(StepClock*) override {}

 private:
  uint64_t next_ = 64;
};

// For ModelOptions::device.
inline constexpr DeviceEntry kNullDevice = {
    "null", [](int, int) -> std::unique_ptr<Device> { return std::make_unique<NullDevice>(); }};

}  // namespace klens::testing
