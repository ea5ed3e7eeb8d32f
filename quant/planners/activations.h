#pragma once
#include <vector>

#include "quant/planners/methods.h"

namespace klens {

// Activations of 16 bits cost no bytes, but take a prompt almost twice the time. So a plan is made
// as if all had 16 bits, and then as many units as can get 8: those that lose least by it, as long
// as all of them together add no more than kActivationShare to the plan's KL. With a limit on the
// KL that is kept room for. Candidates without such a twin are taken as they are.
inline constexpr double kActivationShare = 0.10;

// task.open may have candidates of both kinds.
MethodResult plan_with_activations(const PlanningTask& task,
                                   MethodResult (*plan)(const PlanningTask&));

// task.open without the candidates of 16 bits, but where a unit has no others.
std::vector<std::vector<const Candidate*>> with_coarse_activations(const PlanningTask& task);

}  // namespace klens
