#include "quant/profiler.h"

#include <cmath>
#include <numeric>

namespace klens {

void profile_windows(ProfileSubject& subject, std::span<const std::vector<int32_t>> windows,
                     std::span<const Student> students,
                     const std::function<void(const Student&)>& on_done,
                     const std::function<bool()>& after_window, KeptScores* kept, Scores& scores) {
  const auto find = [&](const std::vector<int32_t>& window, const Student* student) {
    return kept != nullptr ? kept->find(window, student) : std::nullopt;
  };
  for (size_t w = 0; w < windows.size(); ++w) {
    const std::vector<int32_t>& window = windows[w];
    std::vector<WindowScore> of_students(students.size());
    std::vector<Student> missing;
    std::vector<size_t> places;
    for (size_t s = 0; s < students.size(); ++s) {
      if (w % students[s].every != 0 || scores.rests(s)) continue;
      if (const auto found = find(window, &students[s])) {
        of_students[s] = *found;
      } else {
        missing.push_back(students[s]);
        places.push_back(s);
      }
    }
    const std::optional<WindowScore> kept_base = find(window, nullptr);
    WindowScore base = kept_base.value_or(WindowScore());
    if (!kept_base || !missing.empty()) {
      base = subject.begin_window(window);
      if (kept != nullptr && !kept_base) kept->keep(window, nullptr, base);
    }
    if (!missing.empty())
      subject.run(missing, [&](size_t i, const WindowScore& score) {
        of_students[places[i]] = score;
        if (kept != nullptr) kept->keep(window, &missing[i], score);
        on_done(missing[i]);
      });
    scores.base.push_back(base);
    scores.windows.push_back(std::move(of_students));
    if (!after_window()) return;
  }
}

Scores Scores::half(size_t first) const {
  Scores half;
  for (size_t w = first; w < windows.size(); w += 2) {
    half.base.push_back(base[w]);
    half.windows.push_back(windows[w]);
  }
  return half;
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

std::vector<double> window_shares(const Scores& scores) {
  const size_t count = scores.windows.size();
  std::vector<double> sums(count), kls(count);
  for (size_t s = 0; count > 0 && s < scores.windows.front().size(); ++s) {
    double total = 0;
    for (size_t w = 0; w < count; ++w) {
      const WindowScore& score = scores.windows[w][s];
      kls[w] = score.positions > 0 ? score.per_position(score.kl) : NAN;
      total += kls[w];
    }
    if (!std::isfinite(total) || !(total > 0)) continue;
    for (size_t w = 0; w < count; ++w) sums[w] += kls[w] / total;
  }
  const double all = std::accumulate(sums.begin(), sums.end(), 0.0);
  for (double& sum : sums) sum = all > 0 ? sum * static_cast<double>(count) / all : 1;
  return sums;
}

void summarise(const Scores& scores, size_t index, int64_t vocab, Candidate& candidate) {
  WindowScore sum;
  std::vector<WindowScore> windows;
  for (const std::vector<WindowScore>& window : scores.windows) {
    const WindowScore& score = window[index];
    if (score.positions == 0) continue;
    windows.push_back(score);
    sum += score;
  }
  for (const Metric* metric : kMetrics)
    if (metric->of_scores != nullptr) {
      const double value = metric->of_scores(sum, vocab);
      // A student without finite logits keeps its KL, by which it is known.
      if (metric == &kKl || !std::isnan(value)) candidate.value(*metric) = value;
    }
  const MeanKl kl = mean_kl(windows);
  candidate.kl_stderr = kl.stderr_of_mean;
  candidate.kl_windows = kl.windows;
}

void carry_over(const Scores& scores, std::span<const double> shares, size_t index,
                Candidate& candidate) {
  double share = 0;
  size_t count = 0;
  for (size_t w = 0; w < scores.windows.size(); ++w) {
    if (scores.windows[w][index].positions == 0) continue;
    share += shares[w];
    ++count;
  }
  if (count == scores.windows.size() || !(share > 0) || !candidate.kl) return;
  const double by = static_cast<double>(count) / share;
  *candidate.kl *= by;
  if (candidate.kl_stderr) *candidate.kl_stderr *= by;
}

void extend(const Scores& scores, size_t index, const Student& student, const Candidate& like,
            Candidate& candidate) {
  double own = 0, others = 0;
  for (const std::vector<WindowScore>& window : scores.windows) {
    if (window[index].positions == 0 || window[*student.like].positions == 0) continue;
    own += window[index].kl;
    others += window[*student.like].kl;
  }
  if (!(others > 0) || !like.kl) return;
  const double share = own / others;
  candidate.kl = share * *like.kl;
  if (like.kl_stderr) candidate.kl_stderr = share * *like.kl_stderr;
  candidate.kl_windows = like.kl_windows;
  for (double& kl : candidate.kl_windows) kl *= share;
}

}  // namespace klens
