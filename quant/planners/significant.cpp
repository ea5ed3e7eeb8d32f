#include <algorithm>
#include <cmath>

#include "base/statistics.h"
#include "quant/planners/methods.h"

namespace klens {
namespace {

// Standard error of a.kl - b.kl. Paired where both were measured on the same windows: the text then
// cancels, and differences far below either mean's own error are significant. Otherwise the errors
// are added as if independent, which is the cautious side, as the same model on other text
// correlates. A candidate without an error counts as exact. Where it is known what the unit's own
// outputs lose, the order of its candidates is no matter of the sample; how much a unit matters is,
// but that is the same for all of them.
double difference_error(const Candidate& a, const Candidate& b) {
  if (a.others[kOutputError] && b.others[kOutputError]) return 0;
  if (const auto paired = paired_standard_error(a.kl_windows, b.kl_windows)) return *paired;
  return std::hypot(a.kl_stderr.value_or(0), b.kl_stderr.value_or(0));
}

}  // namespace

// Why: what calibration measures is a sample mean. Between two candidates whose difference is
// within two of its standard errors, the sample does not say which is better on other text, while
// the bytes are certain: the smaller one is taken. Left in, such candidates would let the optimiser
// pick the luckiest draws (the winner's curse), and plans would change with every calibration text.
//
// The comparison is with candidates that are themselves kept, smallest first. Comparing with
// dropped ones too would chain: c within the noise of b, b within that of a, c dropped although it
// beats a beyond doubt. The smallest candidate is always kept, so no budget in bytes becomes
// infeasible by this. FP16 has no privilege: with a KL of zero it stays where the next smaller
// candidate's KL is significant.
std::vector<const Candidate*> significant_candidates(const std::vector<const Candidate*>& open) {
  std::vector<const Candidate*> sorted = open;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Candidate* a, const Candidate* b) {
    return a->bytes != b->bytes ? a->bytes < b->bytes : *a->kl < *b->kl;
  });
  std::vector<const Candidate*> kept;
  for (const Candidate* b : sorted) {
    const bool better = std::all_of(kept.begin(), kept.end(), [&](const Candidate* a) {
      return *a->kl - *b->kl > 2 * difference_error(*a, *b);
    });
    if (better) kept.push_back(b);
  }
  return kept;
}

}  // namespace klens
