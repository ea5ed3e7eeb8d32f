// Every kernel under Oclgrind, an interpreter of OpenCL that sees races between work-items, and
// reads and writes beyond buffers: what a driver that computes on the CPU hides.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "engine/cpu/cpu_device.h"
#include "engine/device/operation_cases.h"
#include "engine/devices.h"
#include "engine/opencl/opencl_device.h"
#include "tests/skipped.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

constexpr const char* kDriver = "/usr/lib/oclgrind/liboclgrind-rt-icd.so";

// One size of each; interpreters are slow.
std::vector<OperationCase> small_cases() {
  std::vector<OperationCase> all;
  const auto add = [&](std::vector<OperationCase> cases) {
    for (OperationCase& one : cases) all.push_back(std::move(one));
  };
  add(elementwise_cases({3, 19, 1}));
  add(norm_cases({2, 67, 2}));
  add(rope_cases({2, 5, 3}));
  add(scan_cases({9, 17, 4}));
  add(chunk_cases({80, 3, 8}, 5));
  add(score_cases({2, 131, 5}));
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kI8})
    add(attention_cases({3, 3, 6}, type));
  for (int layout = 0; layout <= static_cast<int>(Layout::kTilesI3); ++layout) {
    const auto kind = static_cast<Layout>(layout);
    const int64_t tokens = kind == Layout::kTilesI4 ? 9 : 2;
    add(linear_cases({tokens, 37, 7}, kind, false, kind >= Layout::kTilesI8));
  }
  return all;
}

}  // namespace

// Alone in its process: the driver is chosen when libOpenCL is opened.
TEST_CASE("kernels neither race nor leave their buffers", "[.][races]") {
  if (!std::filesystem::exists(kDriver)) {
    std::cout << "skip: there is no Oclgrind (Debian: oclgrind)\n";
    skipped = true;
    return;
  }
  const TemporaryFolder folder;
  std::ofstream(folder / "oclgrind.icd") << kDriver << "\n";
  ::setenv("OCL_ICD_VENDORS", folder.path().c_str(), 1);
  ::setenv("XDG_CACHE_HOME", folder.path().c_str(), 1);
  ::setenv("OCLGRIND_DATA_RACES", "1", 1);
  ::setenv("KLENS_OPENCL_CHECKSUM", "on", 1);  // so that its kernel is run
  ::setenv("OCLGRIND_MAX_ERRORS", "5", 1);
  ::setenv("OCLGRIND_LOG", (folder / "log").c_str(), 1);
  OpenClInfo info = opencl_devices().front();
  REQUIRE_THAT(info.name, Catch::Contains("Oclgrind"));
  info.c_version = "CL1.2";  // all that it knows; for kernels it is enough
  CpuDevice reference(1);
  {
    OpenClDevice device(1, info, false);  // a check would take minutes
    for (const OperationCase& test : small_cases())
      CHECK(difference(test, device, reference, 2) == "");
    CHECK(device_notes() == "");
  }
  std::ifstream log(folder / "log");
  CHECK(std::string(std::istreambuf_iterator<char>(log), {}) == "");
}

}  // namespace klens
