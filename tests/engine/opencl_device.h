#pragma once
// What tests of the OpenCL device share: whether there is one, and models on it.
#include <catch2/catch.hpp>
#include <iostream>

#include "base/error.h"
#include "engine/devices.h"
#include "engine/opencl/opencl_device.h"
#include "engine/session.h"
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

// Beside others, and from a checkpoint, sessions have the same bits.
inline void check_in_company(const Golden& golden) {
  const std::span<const int32_t> ids(golden.input_ids);
  Session a(golden.model, 512), b(golden.model, 512), alone(golden.model, 512);
  alone.eval(ids, nullptr);
  const std::vector<Feed> feeds = {{&a, ids}, {&b, ids.first(1)}};
  for (const Fed& fed : feed_round(feeds)) CHECK_FALSE(fed.error);
  CHECK(std::ranges::equal(a.logits(), alone.logits()));
  b.reset();
  b.prompt(ids);
  const std::vector<float> first(b.logits().begin(), b.logits().end());
  b.eval({ids.data(), 1}, nullptr);
  b.prompt(ids);
  CHECK(std::ranges::equal(b.logits(), first));
}

}  // namespace klens::testing
