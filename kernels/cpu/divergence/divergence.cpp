#include "kernels/cpu/divergence/divergence.h"

namespace klens::cpu {

DivergenceFn divergence_scalar;  // divergence_scalar.cpp
LogSumExpFn log_sum_exp_scalar;

static constexpr Variant<DivergenceFn> kDivergence[] = {
    {"scalar", kBaseline, divergence_scalar},
};
static constexpr Variant<LogSumExpFn> kLogSumExp[] = {
    {"scalar", kBaseline, log_sum_exp_scalar},
};

std::span<const Variant<DivergenceFn>> divergence_variants() { return kDivergence; }
std::span<const Variant<LogSumExpFn>> log_sum_exp_variants() { return kLogSumExp; }

}  // namespace klens::cpu
