#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/jobs/plan_meter.h"
#include "engine/jobs/profile_job.h"
#include "quant/planner.h"

namespace klens {

struct SweepOptions {
  // A profile.json of this model, as text; "": one is measured as `profile` says. Of a given one,
  // `profile` has the calibration text, if it was made from one, and the journal's path.
  std::string profile_json;
  ProfileOptions profile;
  std::string methods;          // with commas; "": all that take a budget
  std::vector<Budget> budgets;  // empty: `points` of them
  int64_t points = 12;  // evenly in bits per weight, from the smallest plan to the base format
  std::optional<std::string> text;  // to judge plans by; none: windows that the profile did not use
  std::string text_name = "text";
  int64_t windows = 16;     // to judge plans by, of the profile's length
  int64_t generate = 32;    // tokens decoded to time a plan; 0: speed is not measured
  int64_t repetitions = 3;  // of that; the median counts
  // Memory for packed units that several plans share. One plan has as much as it needs.
  int64_t packed_bytes = int64_t{1} << 30;
  // Plans of a method that refines are measured around, on the profile's windows, as `quantize`
  // does.
  bool refine = false;
};

// What a method makes of a budget.
struct SweepPoint {
  std::string method, budget;
  std::string refused;        // why there is no plan; "": there is one
  size_t plan = 0;            // of SweepReport::plans
  double predicted_kl = 0;    // by the profile
  std::optional<int> rounds;  // in which measuring around it made it another; none: not asked
};

struct SweepReport {
  Profile profile;
  bool profiled = false;  // here; else it was given
  std::string text;       // what plans were judged by
  int64_t windows = 0, tokens = 0;
  double ppl = 0;  // of the model itself, there
  std::string device, level;
  int threads = 0;
  int64_t generate = 0, repetitions = 0;
  std::string quantised_from;  // quantised_formats of the model
  std::vector<std::string> methods;
  std::vector<PlanFigures> plans;  // no two alike, by bytes
  std::vector<SweepPoint> points;  // method by method, budgets in their order
};

// The frontier: makes a plan for each method and budget, packs it in memory, and measures KL,
// perplexity, bytes and decoding speed. Points that are the same plan are measured once; units are
// packed once for each choice, as long as they fit into packed_bytes. What is finished, each window
// and each speed, is kept in the journal. tokenizer may be null where there is no text. Throws
// Error; a budget that a method cannot meet is a point without a plan.
SweepReport sweep(const Model& model, const Tokenizer* tokenizer, const SweepOptions& options,
                  Progress& progress);

}  // namespace klens
