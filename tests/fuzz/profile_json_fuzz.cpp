// The input is a profile.json, from which plans are made, or a plan.json. What is written reads
// back.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "loaders/profile_json.h"
#include "quant/planner.h"

namespace {

void check_plan(const klens::Plan& plan) {
  if (klens::plan_from_json(klens::plan_to_json(plan), "again").units != plan.units) std::abort();
}

void make_plans(const klens::Profile& profile) {
  for (const klens::PlanMethod& method : klens::kPlanMethods)
    for (const int budget : {0, 1, 2}) {
      klens::PlanRequest request;
      request.method = method.name;
      if (budget == 0) request.budget.bpw = 5;
      if (budget == 1) request.budget.file_bytes = 3'000'000;
      if (budget == 2) request.budget.max_kl = 0.05;
      if (method.takes_format) {
        request.uniform_format = klens::kFormats[1].name;
        request.budget = {};
      }
      const auto result = klens::make_plan(profile, request);
      if (const auto* plan = std::get_if<klens::Plan>(&result)) check_plan(*plan);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    check_plan(klens::plan_from_json(input, "plan"));
  } catch (const klens::Error&) {
  }
  try {
    const klens::Profile profile = klens::profile_from_json(input, "profile");
    const std::string text = klens::profile_to_json(profile);
    if (klens::profile_to_json(klens::profile_from_json(text, "again")) != text) std::abort();
    make_plans(profile);
  } catch (const klens::Error&) {
  }
  return 0;
}
