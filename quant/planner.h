#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "quant/plan.h"
#include "quant/profile.h"

namespace klens {

// Exactly one is set.
struct Budget {
  std::optional<double> bpw;          // bits_per_weight of the plan, at most
  std::optional<int64_t> file_bytes;  // size of the whole file (tensors + header_bytes), at most
  std::optional<double> max_kl;       // predicted KL, at most; bytes are minimised
};

struct PlanRequest {
  std::string method = "klens";
  Budget budget;
  std::string uniform_format;            // method uniform only; no budget then
  std::map<std::string, Choice> pinned;  // units whose choice is not open (e.g. --tensor-type)
};

// The plan, or why there is none, in one line that names the cure (infeasible budget with the
// smallest possible one, a metric the method needs but the profile lacks, an unknown method, format
// or unit).
std::variant<Plan, std::string> make_plan(const Profile& profile, const PlanRequest& request);

// Bits per weight of a plan of so many tensor bytes: over the weights of all units, scales and
// padding counted. The small rest (norms, convolution, A_log, ...) is left out on both sides: no
// plan can change it, and in small models it would drown what the plan does. 0 if the profile does
// not know the units' shapes.
double bits_per_weight(const Profile& profile, int64_t bytes);
int64_t unit_weights(const Profile& profile);

// "klens, kl-sort, ...": for messages and --help.
std::string_view plan_methods();

}  // namespace klens
