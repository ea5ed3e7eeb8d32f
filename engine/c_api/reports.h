#pragma once
#include <string>

#include "engine/jobs/bench_job.h"
#include "engine/jobs/compare.h"
#include "engine/jobs/inspect.h"
#include "engine/jobs/perplexity.h"
#include "engine/jobs/quantize_job.h"
#include "engine/jobs/validate.h"
#include "quant/planner.h"
#include "engine/jobs/sweep.h"

namespace klens {

// What jobs found out, as the JSON objects that klens.h describes.
std::string report_json(const PerplexityReport& report);
std::string report_json(const CompareReport& report);
std::string report_json(const InspectReport& report);
std::string report_json(const QuantizeReport& report);
std::string report_json(const BenchReport& report);
// profile.json with "validation".
std::string profile_json(const Profile& profile, const Validation& validation);
// method: one that finds outliers.
std::string report_json(const PlanMethod& method, const std::vector<ModuleOutliers>& outliers);
std::string report_json(const SweepReport& report);
// Of klens_rank_agreement.
std::string agreement_json(const Profile& profile);

}  // namespace klens
