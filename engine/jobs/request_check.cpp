#include "engine/jobs/request_check.h"

#include <algorithm>

#include "loaders/output_path.h"

namespace klens {
namespace {

// Tensor bytes of the smallest file that the candidates allow.
int64_t least_bytes(const Profile& profile) {
  int64_t bytes = profile.fixed_bytes;
  for (const Unit& unit : profile.units)
    bytes +=
        std::min_element(unit.candidates.begin(), unit.candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.bytes < b.bytes; })
            ->bytes;
  return bytes;
}

}  // namespace

void check_request(const Model& model, const std::string& out_path,
                   const QuantizeOptions& options) {
  OutputCheck check{.ending = ".klens", .inputs = {model.checkpoint().path}, .bytes = 0};
  if (!out_path.empty()) check_output(out_path, check);
  if (options.keep || !options.plan_json.empty() ||
      find_row(kPlanMethods, options.request.method)->takes_format)
    return;
  const Profile profile =
      costless_profile(model, parse_formats(options.profile.formats), options.profile.quantizer);
  PlanRequest request = options.request;
  request.pinned = pinned_choices(options.tensor_types, profile);
  plan_or_throw(profile, request);
  if (!out_path.empty()) check_free_space(out_path, least_bytes(profile));
}

}  // namespace klens
