#pragma once
#include <optional>
#include <span>
#include <vector>

#include "base/statistics.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/progress.h"
#include "engine/jobs/unit_inputs.h"
#include "quant/plan.h"

namespace klens {

// What one plan is worth, on windows that it was not made from.
struct PlanFigures {
  Plan plan;
  size_t bytes = 0;  // of the whole file
  MeanError kl{};    // nats per token; the error is over windows
  double ppl = 0;
  std::optional<double> tok_s, tok_s_stddev;
};

struct MeterOptions {
  int64_t generate = 32;    // tokens decoded to time a plan; 0: speed is not measured
  int64_t repetitions = 3;  // of that; the median counts
  // Memory for packed units that several plans share. One plan has as much as it needs.
  int64_t packed_bytes = int64_t{1} << 30;
};

// Of the model itself on the windows.
struct TextFigures {
  double ppl = 0;
  int64_t tokens = 0;
};

// Measures plans on windows and fills in all figures but bytes: as many plans at once as there is
// memory for, so that a window's teacher pass and a unit's packed weights serve them all. Plans
// that stand side by side had best share units. Each score and each speed is kept in the journal,
// and what it has is not measured again.
TextFigures measure_plans(const Model& model, const Windows& windows, const UnitInputs& inputs,
                          const MeterOptions& options, Progress& progress, Journal& journal,
                          std::vector<PlanFigures>& plans);

}  // namespace klens
