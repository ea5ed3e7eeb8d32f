#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "engine/jobs/profile_job.h"
#include "quant/planner.h"

namespace klens {

struct QuantizeOptions {
  std::string plan_json;  // a ready plan, or "" and request
  PlanRequest request;
  std::string tensor_types;  // lines "REGEX=FORMAT", on top of any plan
  ProfileOptions profile;
  bool dry_run = false;
  bool measure = true;  // the finished plan, on held-out windows
};

// What klens_quantize does and reports. Profiles (windows end early once the plan no longer
// changes), plans, measures the whole plan, re-measures around it until that stops helping, judges
// it on held-out windows, bakes.
nlohmann::ordered_json quantize(const Model& model, const Tokenizer* tokenizer,
                                const std::string& out_path, const QuantizeOptions& options,
                                Progress& progress);

// Units of a profile whose format "REGEX=FORMAT" lines give; the last line that matches counts.
// Throws Error for a bad line, a regex that matches no unit, an unknown format.
std::map<std::string, Choice> pinned_choices(const std::string& tensor_types,
                                             const Profile& profile);

// make_plan, its refusal as an Error.
Plan plan_or_throw(const Profile& profile, const PlanRequest& request);

}  // namespace klens
