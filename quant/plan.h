#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "quant/choice.h"

namespace klens {

// The contents of plan.json (schema version 1): one choice per unit.
struct Plan {
  std::string method;  // one of the table in planner.h, or "given"
  std::string budget;  // as the user said it: "4.5 bpw", "2400000 bytes", "kl 0.02",
                       // "20 tok/s"
  int64_t bytes = 0;   // of all tensors (units and the fixed rest), without the file's header
  double bpw = 0;      // bits_per_weight(profile, bytes)
  std::optional<double> predicted_kl;  // sum over units, nats per token
  std::optional<double> measured_kl;   // of the whole plan, on the calibration windows
  std::optional<double> measured_kl_stderr;
  std::optional<double> predicted_tok_s;  // decoding, where the profile was timed
  std::optional<double> optimality_gap;   // proven bound on predicted_kl - optimum; 0: exact
  std::map<std::string, Choice> units;    // by the unit's name
};

}  // namespace klens
