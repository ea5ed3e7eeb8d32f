#pragma once
#include <variant>
#include <vector>

#include "quant/planners/methods.h"

namespace klens {

// The KL lens paper's list (arXiv 2604.13440): all (unit, format) pairs but FP16, least sensitive
// by one metric first. A unit without an entry taken is FP16.
struct SensitivityList {
  struct Step {
    size_t unit;
    const Candidate* to;
  };
  Selection start;  // before any entry is taken; pinned units have what they are pinned to
  std::vector<Step> steps;
};

// Or what of it was not measured.
std::variant<SensitivityList, Unmeasured> sensitivity_list(const PlanningTask& task,
                                                           const Metric& metric);

}  // namespace klens
