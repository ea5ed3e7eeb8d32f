#pragma once
#include <vector>

#include "quant/planners/methods.h"

namespace klens {

// Activations of 16 bits cost no bytes, but take a prompt almost twice the time. So a plan is made
// with 8 bits everywhere first. Where those add more than kActivationShare to the rest of its KL,
// and more than kNegligibleKl nats, the units that lose most by them get 16, as few as do, and the
// plan is made again. All where nothing is known of 16 bits: the plan is then the first one.
inline constexpr double kActivationShare = 0.10;
inline constexpr double kNegligibleKl = 1e-4;

// task.open may have candidates of both kinds.
MethodResult plan_with_activations(const PlanningTask& task,
                                   MethodResult (*plan)(const PlanningTask&));

// task.open without the candidates of 16 bits, but where a unit has no others.
std::vector<std::vector<const Candidate*>> with_coarse_activations(const PlanningTask& task);

}  // namespace klens
