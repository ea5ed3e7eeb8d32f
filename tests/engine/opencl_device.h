#pragma once
// What tests of the OpenCL device share: whether there is one, and models on it.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>

#include "base/error.h"
#include "engine/devices.h"
#include "engine/jobs/students.h"
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

// A value of KLENS_OPENCL_FEATURES while it lives.
class Features {
 public:
  explicit Features(const std::string& list) { ::setenv("KLENS_OPENCL_FEATURES", list.c_str(), 1); }
  ~Features() { ::unsetenv("KLENS_OPENCL_FEATURES"); }
  Features(const Features&) = delete;
  Features& operator=(const Features&) = delete;
};

// A golden's model with all units in one format, and what its weights lie in.
struct Quantised {
  std::vector<PackedWeight> packed;
  std::shared_ptr<const Model> model;
};

inline Quantised quantised(const std::string& name, const Format& format, int bits,
                           const ModelOptions& options) {
  Choice choice;
  choice.format = format.name;
  choice.activation_bits = bits;
  Checkpoint checkpoint = open_checkpoint(data_path("goldens/" + name), true);
  Quantised made;
  made.packed.reserve(checkpoint.units.size());
  for (auto& [unit, stored] : checkpoint.units) {
    made.packed.push_back(quantise_unit(stored, choice));
    stored.view = made.packed.back().view();
    stored.bytes = made.packed.back().qweight.size();
    stored.format = &format;
    stored.choice = choice;
  }
  made.model = std::make_shared<const Model>(std::move(checkpoint), options);
  return made;
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
