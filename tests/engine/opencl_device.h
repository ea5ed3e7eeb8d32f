#pragma once
// What tests of the OpenCL device share: whether there is one, and models on it.
#include <iostream>

#include "base/error.h"
#include "engine/devices.h"
#include "engine/opencl/opencl_device.h"
#include "tests/engine/golden.h"
#include "tests/skipped.h"

namespace klens::testing {

// Says so aloud where there is none.
inline bool has_opencl() {
  try {
    opencl_device(-1);
    return true;
  } catch (const Error& error) {
    std::cout << "skip: " << error.what() << "\n";
    skipped = true;
    return false;
  }
}

inline ModelOptions on_opencl() {
  return {.threads = 2, .device = find_device("opencl").entry, .device_index = -1};
}

}  // namespace klens::testing
