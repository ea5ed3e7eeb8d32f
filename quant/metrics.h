#pragma once
#include <array>
#include <iterator>

#include "quant/metrics/delta_ce.h"
#include "quant/metrics/kl.h"
#include "quant/metrics/kl_p999.h"
#include "quant/metrics/kl_reverse.h"
#include "quant/metrics/kurtosis.h"
#include "quant/metrics/mse.h"
#include "quant/metrics/output_error.h"
#include "quant/metrics/ppl.h"
#include "quant/metrics/sensitivity.h"
#include "quant/metrics/sqnr_db.h"
#include "quant/table.h"

namespace klens {

// In the order of profile.json. The first is what plans add up.
inline constexpr const Metric* kMetrics[] = {&kKl,       &kKlReverse,  &kKlP999, &kDeltaCe,
                                             &kMse,      &kSqnrDb,     &kPpl,    &kOutputError,
                                             &kKurtosis, &kSensitivity};

// A value for each metric, where there is one.
class MetricValues {
 public:
  std::optional<double>& operator[](const Metric& metric) { return values_[row(metric)]; }
  const std::optional<double>& operator[](const Metric& metric) const {
    return values_[row(metric)];
  }
  bool operator==(const MetricValues&) const = default;

 private:
  static constexpr size_t row(const Metric& metric) {
    size_t at = 0;
    while (kMetrics[at] != &metric) ++at;
    return at;
  }
  std::array<std::optional<double>, std::size(kMetrics)> values_;
};

}  // namespace klens
