// The checksum by which is seen whether an OpenCL device has the weights that it was given.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <random>

#include "engine/jobs/students.h"
#include "engine/opencl/checksum.h"
#include "tests/engine/opencl_device.h"

namespace klens {
namespace {

using namespace klens::testing;

// A value of KLENS_OPENCL_CHECKSUM while it lives.
class Asked {
 public:
  explicit Asked(const char* value) { ::setenv("KLENS_OPENCL_CHECKSUM", value, 1); }
  ~Asked() { ::unsetenv("KLENS_OPENCL_CHECKSUM"); }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;
};

std::vector<std::byte> some_bytes(size_t count) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

// Weights with data, scales and minima.
PackedWeight packed_weight() {
  Checkpoint checkpoint = open_checkpoint(data_path("goldens/llama"), true);
  Choice choice;
  choice.format = "int4ag32";
  for (const auto& [name, unit] : checkpoint.units) return quantise_unit(unit, choice);
  return {};
}

}  // namespace

TEST_CASE("the device's checksum is the host's", "[opencl][checksum]") {
  if (!has_opencl()) return;
  OpenClInfo info = opencl_device(-1);
  OpenClQueue queue(info, {});
  const std::vector<std::byte> bytes = some_bytes(3 << 20);
  const uint64_t memory = queue.allocate(static_cast<int64_t>(bytes.size()));
  queue.write(bytes.data(), memory, static_cast<int64_t>(bytes.size()));
  for (const size_t from : {0, 2, 5, 64})
    for (const size_t count : {1, 3, 4, 5, 4095, 4096, 70'001, (3 << 20) - 64}) {
      CAPTURE(from, count);
      CHECK(checksum_on(queue, memory + from, static_cast<int64_t>(count)) ==
            checksum_of(std::span(bytes).subspan(from, count)));
    }
  CHECK(check_checksum(queue) == "");
  queue.free(memory);
}

TEST_CASE("a checksum tells any word that differs, and what lies elsewhere", "[opencl][checksum]") {
  std::vector<std::byte> bytes = some_bytes(4099);
  const uint64_t sum = checksum_of(bytes);
  CHECK(checksum_of(std::span(bytes).first(1024)) +
            checksum_of(std::span(bytes).subspan(1024), 1024) ==
        sum);
  for (size_t at = 0; at < bytes.size(); at += 13)
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] ^= static_cast<std::byte>(1 << bit);
      CHECK(checksum_of(bytes) != sum);
      bytes[at] ^= static_cast<std::byte>(1 << bit);
    }
  std::rotate(bytes.begin(), bytes.begin() + 4, bytes.begin() + 64);
  CHECK(checksum_of(bytes) != sum);
}

TEST_CASE("weights that the device has otherwise are refused", "[opencl][checksum]") {
  if (!has_opencl()) return;
  OpenClInfo info = opencl_device(-1);
  info.uses.in_place = false;
  OpenClDevice device(2, info);
  const PackedWeight packed = packed_weight();
  const WeightView mapped = packed.view();
  REQUIRE(mapped.min != nullptr);
  const Device::Adopted adopted = device.adopt(mapped);
  CHECK_NOTHROW(device.verify(mapped, adopted.view));
  const auto check = [&](const void* host, const void* part) {
    const std::byte right = static_cast<const std::byte*>(host)[17];
    const std::byte wrong = right ^ std::byte{4};
    const uint64_t address = reinterpret_cast<uint64_t>(part) + 17;
    device.write(&wrong, address, 1);
    CHECK_THROWS_WITH(
        device.verify(mapped, adopted.view),
        Catch::Contains("other weights than the host gave it") && Catch::Contains("--backend cpu"));
    device.write(&right, address, 1);
    CHECK_NOTHROW(device.verify(mapped, adopted.view));
  };
  check(mapped.data, adopted.view.data);
  check(mapped.scale, adopted.view.scale);
  check(mapped.min, adopted.view.min);
}

TEST_CASE("weights are verified as they are taken, unless that is switched off",
          "[opencl][checksum]") {
  if (!has_opencl()) return;
  const PackedWeight packed = packed_weight();
  const auto launches = [&](const char* asked, bool in_place) {
    const Asked environment(asked);
    OpenClInfo info = opencl_device(-1);
    info.uses.in_place = in_place;
    OpenClDevice device(2, info);
    device.adopt(packed.view());  // the first may check the program
    StepClock clock;
    device.time_steps(&clock);
    const Device::Adopted adopted = device.adopt(packed.view());
    device.time_steps(nullptr);
    const auto kernels = clock.kernels();
    return kernels.contains("checksum") ? kernels.at("checksum").launches : 0;
  };
  CHECK(launches("", false) == 3);  // data, scales, minima
  CHECK(launches("on", false) == 3);
  CHECK(launches("off", false) == 0);
  CHECK(launches("", true) == 0);  // the memory is the host's
  CHECK(launches("on", true) == 3);
  const Asked environment("yes");
  CHECK_THROWS_WITH(OpenClDevice(1, opencl_device(-1)),
                    Catch::Contains("KLENS_OPENCL_CHECKSUM") && Catch::Contains("on or off"));
}

// What engine/README.md says of it: klens_opencl_tests "[cost]".
TEST_CASE("what checksums cost", "[.][cost]") {
  if (!has_opencl()) return;
  constexpr int64_t kRows = 8192, kCols = 16384;  // 512 MiB
  const std::vector<float> values(static_cast<size_t>(kRows * kCols), 0.5f);
  WeightView view;
  view.layout = Layout::kRowsF32;
  view.rows = kRows;
  view.cols = kCols;
  view.data = values.data();
  for (const bool in_place : {false, true}) {
    OpenClInfo info = opencl_device(-1);
    info.uses.in_place = in_place;
    for (const char* asked : {"off", "on"}) {
      const Asked environment(asked);
      OpenClDevice device(0, info);
      device.adopt(packed_weight().view());  // compiles
      double best = 1e9;
      for (int i = 0; i < 5; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        device.adopt(view);
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
        best = std::min(best, spent.count());
      }
      std::cout << (in_place ? "mapped" : "copied") << ", checksum " << asked << ": " << 1000 * best
                << " ms for 512 MiB\n";
    }
  }
}

}  // namespace klens
