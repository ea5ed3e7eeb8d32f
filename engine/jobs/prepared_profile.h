#pragma once
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/jobs/candidates.h"
#include "engine/model.h"
#include "quant/profiler.h"

namespace klens {

// A profile before anything is measured, and what to measure for it.
struct Prepared {
  Profile profile;
  std::vector<Student> students;
  std::vector<std::pair<size_t, size_t>> places;  // of students: unit, candidate
  std::vector<double> reference;  // output errors of units that candidates are compared with, or
                                  // none: they are the checkpoint's
};

// What loses least is measured less often than what loses most: that only tells what activations
// lose, which is a small part of most plans.
inline constexpr size_t kFinestEvery = 4;

// A profile of units with these candidates, and the students to measure, for each unit `measured`
// at most (0: all); those that are integers, where what they are compared with is. spare: small
// units on fewer windows.
Prepared prepare(const Model& model, const std::vector<std::vector<Possible>>& possible,
                 size_t measured, bool rounded = false, bool spare = false);

// As if it lost nothing over so many windows.
void set_exact(Candidate& candidate, size_t windows);

// One window in so many is enough for a unit of so many weights, next to the mean of the model's
// units, where no more than a plan is wanted.
size_t sparing(double weights, double mean);
// Weights of a model's units, on average.
double mean_weights(const Model& model);

// Throws Error for an unknown one.
const Quantizer& parse_quantizer(const std::string& name);

// Units and candidates of a model without measured metrics: what planning a uniform format needs.
// header_bytes is filled in too.
Profile unmeasured_profile(const Model& model, const std::vector<const Format*>& formats,
                           const std::string& quantizer);

// The same as if nothing lost anything: whether a budget can be met is a matter of bytes.
Profile costless_profile(const Model& model, const std::vector<const Format*>& formats,
                         const std::string& quantizer);

}  // namespace klens
