#include "kernels/cpu/divergence/divergence.h"

namespace klens::cpu {

DivergenceFn divergence_avx512, divergence_avx2, divergence_scalar;  // divergence_<row>.cpp
LogSumExpFn log_sum_exp_avx512, log_sum_exp_avx2, log_sum_exp_scalar;

static constexpr Variant<DivergenceFn> kDivergence[] = {
    {"avx512", kAvx2 | kAvx512, divergence_avx512},
    {"avx2", kAvx2, divergence_avx2},
    {"scalar", kBaseline, divergence_scalar},
};
static constexpr Variant<LogSumExpFn> kLogSumExp[] = {
    {"avx512", kAvx2 | kAvx512, log_sum_exp_avx512},
    {"avx2", kAvx2, log_sum_exp_avx2},
    {"scalar", kBaseline, log_sum_exp_scalar},
};

std::span<const Variant<DivergenceFn>> divergence_variants() { return kDivergence; }
std::span<const Variant<LogSumExpFn>> log_sum_exp_variants() { return kLogSumExp; }

}  // namespace klens::cpu
