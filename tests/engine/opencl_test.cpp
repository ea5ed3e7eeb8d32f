// The OpenCL device, on whatever drivers this machine has.
#include <catch2/catch.hpp>
#include <iostream>

#include "base/error.h"
#include "engine/devices.h"
#include "engine/opencl/opencl_device.h"
#include "tests/engine/golden.h"

namespace klens {
namespace {

using namespace klens::testing;

// Whether there is a device; says so aloud where there is none.
bool has_opencl() {
  try {
    opencl_device(-1);
    return true;
  } catch (const Error& error) {
    std::cout << "skip: " << error.what() << "\n";
    skipped = true;
    return false;
  }
}

ModelOptions on_opencl() {
  return {.threads = 2, .device = find_device("opencl").entry, .device_index = -1};
}

}  // namespace

TEST_CASE("goldens hold on OpenCL, in prefill chunks of any size", "[opencl][golden]") {
  if (!has_opencl()) return;
  for (const std::string& name : golden_names()) {
    const Golden golden = load_golden(name, on_opencl());
    for (const size_t chunk : {1, 7, 53}) {
      CAPTURE(name, chunk);
      Session session(golden.model, 512);
      check_close(eval_in_chunks(session, golden.input_ids, chunk), golden.logits.data(), 0);
      CHECK(session.position() == 53);
    }
  }
}

}  // namespace klens
