// What logits are reduced to.
#include "engine/cpu/lane.h"
#include "kernels/cpu/divergence/divergence.h"

namespace klens {

// Each row in the calling thread: who compares models runs windows or students side by side.
void CpuLane::divergence(const Rows& z, const Rows& zq, std::span<PositionScore> scores) {
  const auto run = cpu::best_variant(cpu::divergence_variants(), cpu::active()).run;
  for (int64_t t = 0; t < z.count(); ++t) {
    const cpu::Divergence d = run(
        {.z = floats(z) + t * z.stride(), .zq = floats(zq) + t * zq.stride(), .vocab = z.width()});
    scores[static_cast<size_t>(t)] = {.lse_p = d.lse_p,
                                      .lse_q = d.lse_q,
                                      .kl = d.kl,
                                      .kl_reverse = d.kl_reverse,
                                      .squared_error = d.squared_error,
                                      .squared = d.squared};
  }
}

void CpuLane::log_sum_exp(const Rows& z, std::span<double> sums) {
  const auto run = cpu::best_variant(cpu::log_sum_exp_variants(), cpu::active()).run;
  for (int64_t t = 0; t < z.count(); ++t)
    sums[static_cast<size_t>(t)] = run(floats(z) + t * z.stride(), z.width());
}

}  // namespace klens
