#pragma once
#include <optional>
#include <string>
#include <variant>

#include "quant/plan.h"
#include "quant/planners/methods.h"
#include "quant/planners/outliers.h"
#include "quant/profile.h"

namespace klens {

// A way to make a plan.
struct PlanMethod {
  const char* name;
  const char* about;  // for lists of methods: one line, no full stop
  MethodResult (*plan)(const PlanningTask&);
  bool takes_format = false;              // instead of a budget: one for every unit
  bool unmeasured = false;                // it looks at bytes alone
  bool refines = false;                   // its plan is worth measuring anew around, unit by unit
  bool weighs_activations = false;        // whether some get 16 bits; else those have 8
  const OutlierRule* outliers = nullptr;  // by which it finds layers that stand out
};

// The first is the default.
inline constexpr PlanMethod kPlanMethods[] = {
    {.name = "klens",
     .about = "exact knapsack over measured KL",
     .plan = plan_by_knapsack,
     .refines = true,
     .weighs_activations = true},
    {.name = "kl-sort",
     .about = "the KL lens paper's list, least KL first",
     .plan = plan_by_kl_order},
    {.name = "kl-sort-gamma",
     .about = "that list, each step undone that leaves 1.10 times the perplexity",
     .plan = plan_by_gamma},
    {.name = "sqnr-sort", .about = "such a list, least noise first", .plan = plan_by_sqnr_order},
    {.name = "mse-sort",
     .about = "such a list, least squared error first",
     .plan = plan_by_mse_order},
    {.name = "greedy",
     .about = "upwards from the smallest, each time by the most KL for a byte",
     .plan = plan_by_steps},
    {.name = "kl-max",
     .about = "the least bound on every single matrix's KL",
     .plan = plan_by_largest_kl},
    {.name = "sensiboost",
     .about = "one format, and more bits where a layer's outputs suddenly lose",
     .plan = plan_by_sensitive_outliers,
     .outliers = &kSensiBoost},
    {.name = "kurtboost",
     .about = "one format, and more bits where the weights' kurtosis jumps",
     .plan = plan_by_kurtosis_outliers,
     .outliers = &kKurtBoost},
    {.name = "rule",
     .about = "no measurement: edges, embedding, head, values and outputs one format higher",
     .plan = plan_by_rule,
     .unmeasured = true},
    {.name = "uniform",
     .about = "one format for every unit",
     .plan = plan_uniform,
     .takes_format = true,
     .unmeasured = true},
};

// Exactly one is set.
struct Budget {
  // bits_per_weight of the plan, at most
  std::optional<double> bpw = {};
  // size of the whole file (tensors + header_bytes), at most
  std::optional<int64_t> file_bytes = {};
  // predicted KL, at most; bytes are minimised
  std::optional<double> max_kl = {};
  // decoded tokens per second, at least, as the profile was timed
  std::optional<double> min_tok_s = {};
};

struct PlanRequest {
  std::string method = kPlanMethods[0].name;
  Budget budget;
  std::string uniform_format;            // for a method that takes_format; no budget then
  std::map<std::string, Choice> pinned;  // units whose choice is not open (e.g. --tensor-type)
};

// The plan, or why there is none, in one line that names the cure (infeasible budget with the
// smallest possible one, a metric the method needs but the profile lacks, an unknown method, format
// or unit).
std::variant<Plan, std::string> make_plan(const Profile& profile, const PlanRequest& request);

// Decoded tokens per second of a plan, from the times in the profile; none where it has none.
std::optional<double> predicted_tok_s(const Profile& profile, const Plan& plan);

// What a profile says of a plan's choices, whichever profile it was made from: the sum over units.
double predicted_kl(const Profile& profile, const Plan& plan);

// Bits per weight of a plan of so many tensor bytes: over the weights of all units, scales and
// padding counted. The small rest (norms, convolution, A_log, ...) is left out on both sides: no
// plan can change it, and in small models it would drown what the plan does. 0 if the profile does
// not know the units' shapes.
double bits_per_weight(const Profile& profile, int64_t bytes);
int64_t unit_weights(const Profile& profile);

}  // namespace klens
