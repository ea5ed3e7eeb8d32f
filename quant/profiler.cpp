#include "quant/profiler.h"

#include <algorithm>
#include <cmath>

namespace klens {

void profile_windows(ProfileSubject& subject, std::span<const std::vector<int32_t>> windows,
                     std::span<const Student> students, const std::function<void()>& on_done,
                     const std::function<bool()>& after_window, Scores& scores) {
  for (size_t w = scores.windows.size(); w < windows.size(); ++w) {
    const WindowScore base = subject.begin_window(windows[w]);
    std::vector<WindowScore> window = subject.run(students, on_done);
    scores.base.push_back(base);
    scores.windows.push_back(std::move(window));
    if (!after_window()) return;
  }
}

MeanKl mean_kl(std::span<const WindowScore> windows) {
  MeanKl result;
  double sum = 0;
  int64_t positions = 0;
  for (const WindowScore& window : windows) {
    result.windows.push_back(window.kl / static_cast<double>(window.positions));
    sum += window.kl;
    positions += window.positions;
  }
  if (windows.empty()) return result;
  result.mean = sum / static_cast<double>(positions);
  if (windows.size() < 2) return result;
  double squares = 0;
  for (const double kl : result.windows) squares += (kl - result.mean) * (kl - result.mean);
  const double n = static_cast<double>(windows.size());
  result.stderr_of_mean = std::sqrt(squares / (n - 1) / n);
  return result;
}

void summarise(const Scores& scores, size_t index, int64_t vocab, Candidate& candidate) {
  WindowScore sum;
  std::vector<WindowScore> windows;
  for (const std::vector<WindowScore>& window : scores.windows) {
    const WindowScore& score = window[index];
    windows.push_back(score);
    sum.kl_reverse += score.kl_reverse;
    sum.delta_ce += score.delta_ce;
    sum.ce += score.ce;
    sum.squared_error += score.squared_error;
    sum.squared += score.squared;
    sum.positions += score.positions;
    sum.labels += score.labels;
  }
  const MeanKl kl = mean_kl(windows);
  const double positions = static_cast<double>(sum.positions);
  const double labels = static_cast<double>(std::max<int64_t>(sum.labels, 1));
  constexpr double kMaxSqnr = 200;  // no error at all: JSON has no infinity
  candidate.kl = kl.mean;
  candidate.kl_stderr = kl.stderr_of_mean;
  candidate.kl_windows = kl.windows;
  candidate.kl_reverse = sum.kl_reverse / positions;
  candidate.delta_ce = sum.delta_ce / labels;
  candidate.ppl = std::exp(sum.ce / labels);
  candidate.mse = sum.squared_error / positions / static_cast<double>(vocab);
  candidate.sqnr_db = sum.squared_error > 0
                          ? std::min(kMaxSqnr, 10 * std::log10(sum.squared / sum.squared_error))
                          : kMaxSqnr;
}

}  // namespace klens
