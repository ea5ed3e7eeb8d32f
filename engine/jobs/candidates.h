#pragma once
#include <map>
#include <string>
#include <vector>

#include "engine/jobs/unit_inputs.h"

namespace klens {

// Candidates of a unit that a profile measures, but for the base format.
inline constexpr size_t kMostCandidates = 6;

// Formats of each unit, in the order of `formats`: of a unit that is quantised already the smaller
// ones; and, where they are more than a profile measures, those that are worth it by what the
// unit's own outputs lose (quant/shortlist.h). That is looked at in a sample of the outputs. The
// base format and those that units are pinned to always stay.
std::vector<std::vector<const Format*>> candidate_formats(
    const Model& model, const std::vector<const Format*>& formats, const std::string& quantizer,
    const std::map<std::string, Choice>& pinned, const UnitInputs& inputs, Progress& progress);

}  // namespace klens
