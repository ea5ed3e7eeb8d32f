#pragma once
#include <map>
#include <string>
#include <vector>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/unit_inputs.h"

namespace klens {

// Formats of a unit that a profile compares, but for the base format.
inline constexpr size_t kMostCandidates = 6;

// Outputs of a unit that are looked at, at most.
inline constexpr int64_t kSampleRows = 128;

// What a unit may become, and what its own outputs then lose by its weights; see
// quant/output_error.h.
struct Possible {
  Choice choice;
  double output_error = 0;
};

// What a sample of outputs of a model's unit loses by the weights of a choice.
double sampled_error(const Model& model, size_t unit, const Choice& choice,
                     const InputStats& inputs, Journal& journal);

// Every one of the formats, each with 8 and, on the integer path, 16 bits of activations, and what
// the unit is already, if that is in one of the formats.
std::vector<Choice> possible_choices(const StoredUnit& unit,
                                     const std::vector<const Format*>& formats,
                                     const Quantizer& quantizer);

// Of each unit, in the order of `formats`: of one that is quantised already the smaller ones; and,
// where they are many, those that are worth it by output error (quant/shortlist.h). The base format
// and what units are pinned to always stay. Errors are those of a sample of the outputs.
std::vector<std::vector<Possible>> candidate_choices(const Model& model,
                                                     const std::vector<const Format*>& formats,
                                                     const Quantizer& quantizer,
                                                     const std::map<std::string, Choice>& pinned,
                                                     const UnitInputs& inputs, Progress& progress,
                                                     Journal& journal);

}  // namespace klens
