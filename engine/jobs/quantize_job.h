#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "engine/jobs/inspect.h"
#include "engine/jobs/profile_job.h"
#include "engine/jobs/racing.h"
#include "engine/jobs/text_windows.h"
#include "quant/planner.h"

namespace klens {

struct QuantizeOptions {
  std::string plan_json;  // a ready plan, or "" and request
  PlanRequest request;
  std::string tensor_types;  // lines "REGEX=FORMAT", on top of any plan
  ProfileOptions profile;
  bool dry_run = false;
  bool measure = true;  // the finished plan, on held-out windows
  // Instead of a plan: units that are in one of the formats stay what they are, others become FP16.
  bool keep = false;
};

struct QuantizeReport {
  size_t bytes = 0;  // of the file
  // The finished plan against the model, on windows that `text` tells the kind of.
  struct Evaluation {
    MeanError kl{};
    double ppl_before = 0, ppl_after = 0;
    std::string text;
  };
  std::optional<Evaluation> evaluation;
  // Of a source that is quantised itself, "int4g64 in 30 of 33 matrices"; else "". Figures then
  // compare with it, not with the model that it was made from.
  std::string source_formats;
  // What choices that were predicted measured, over that.
  std::vector<double> checked;
  bool unchecked = false;    // the plan made before that measured better
  std::optional<Race> race;  // of a profile that was made for this plan
  int rounds = 0;            // in which the plan became another by measuring around it
  // Quantizers that look at what units are multiplied by had nothing to look at: no text was given.
  bool inputs_unknown = false;
  Plan plan;
  std::vector<UnitReport> units;
  std::optional<double> measured_tok_s;  // of the file, where the budget is a speed
  double seconds = 0;
  std::optional<Profile> profile;  // where one was measured
};

// Profiles (windows end early once the plan no longer changes), plans, measures the whole plan,
// re-measures around it until that stops helping, judges it on held-out windows, bakes.
QuantizeReport quantize(const Model& model, const Tokenizer* tokenizer, const std::string& out_path,
                        const QuantizeOptions& options, Progress& progress);

// Units of a profile whose format "REGEX=FORMAT" lines give; the last line that matches counts.
// Throws Error for a bad line, a regex that matches no unit, an unknown format.
// A unit that has no candidate of the format gets it by `quantizer`.
std::map<std::string, Choice> pinned_choices(const std::string& tensor_types,
                                             const Profile& profile,
                                             const std::string& quantizer = kUsualQuantizer.name);

// A plan whose formats cannot hold a unit's weights is refused, not clipped: throws Error.
void check_reach(const Plan& plan, const Model& model);

// What the quantizer of a choice looks at.
Quantizer::Sees sees(const Choice& choice);

// The file that quantize makes of this plan where it is given and not measured.
size_t baked_bytes(const Model& model, const Profile& profile, const Plan& plan);

// The plan, if there is one.
std::optional<Plan> plan_or_none(const Profile& profile, const PlanRequest& request);
// make_plan, its refusal as an Error.
Plan plan_or_throw(const Profile& profile, const PlanRequest& request);

}  // namespace klens
