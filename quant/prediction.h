#pragma once
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "quant/plan.h"
#include "quant/profile.h"

namespace klens {

// What a unit's candidates lose, from a few that were measured. A small disturbance moves the KL by
// its square, whatever made it: so a candidate's KL is what its activations of 8 bits lose, which
// is the same for all formats, and a part in proportion to what the unit's outputs lose by its
// weights (kOutputError). Two measured candidates tell both parts; one with activations of 16 bits
// the second alone. Where more were measured, the second part is read off the lines through them,
// of logarithms. On wiki-llama that is within 3 %
// of what is measured, from 8 to 4 bits (bench/RESULTS.md, "Predicted KLs").

// Which of the candidates with these errors to measure, in their order: at most `most` (0: all),
// at equal distances of log error, the largest and the smallest among them. Errors of 0 are never
// measured.
std::vector<size_t> worth_measuring(std::span<const double> errors, size_t most);

// Of a unit whose measured candidates were compared not with the unit itself but with what
// `reference` makes of it, which loses `error` at its outputs: takes what that adds to their KLs
// out of them, in proportion to errors; one with the weights of the reference lacks its own part,
// and gets it. Nothing where fewer than two were measured.
void take_out_reference(Unit& unit, const Choice& reference, double error);

// Fills in KLs, their errors and windows, of candidates that have an output error and were not
// measured, and marks them as predicted. Nothing, if nothing was measured.
void predict_kls(Unit& unit);

// What a plan chooses though its KL is only predicted: units and their candidates.
std::vector<std::pair<size_t, size_t>> predicted_choices(const Profile& profile, const Plan& plan);

}  // namespace klens
