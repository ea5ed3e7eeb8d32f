#include "engine/jobs/compare.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/walk.h"

namespace klens {
namespace {

// One position of the text. nll_a, nll_b and delta_p only where there is a next token to score.
struct Position {
  double kl;
  bool same_top, scored;
  double nll_a, nll_b;
  double delta_p;  // p_b(next) - p_a(next)
};

int64_t largest(const float* logits, int64_t vocab) {
  return std::max_element(logits, logits + vocab) - logits;
}

// What two models make of the same positions of a window.
class WindowComparison {
 public:
  WindowComparison(const Model& a, const Model& b, const TextWindow& window,
                   std::vector<Position>& out)
      : a_(a), b_(b), window_(window), out_(out) {}

  void run(Lane& lane) {
    const int64_t tokens = static_cast<int64_t>(window_.ids.size());
    Walk walk_a(a_, tokens), walk_b(b_, tokens);
    for (int64_t t = 0; t < tokens; t += kWalkPart) {
      const int64_t part = std::min(kWalkPart, tokens - t);
      const auto ids =
          std::span(window_.ids).subspan(static_cast<size_t>(t), static_cast<size_t>(part));
      const Lane::Frame frame(lane);
      // b's last hidden states wait while a's logits stream past; d_model may differ, the
      // vocabulary may not.
      const Rows xa = walk_a.feed(ids, lane), xb = walk_b.feed(ids, lane);
      stream_logits(a_, xa, a_.weights(), lane, [&](int64_t first, const Rows& za) {
        const Lane::Frame inner(lane);
        const Rows zb = lane.take(za.count(), b_.spec().vocab);
        b_.head(xb.rows(first, za.count()), zb, b_.weights(), lane);
        score(t + first, za, zb, lane);
      });
    }
  }

 private:
  void score(int64_t first, const Rows& a, const Rows& b, Lane& lane) {
    const int64_t vocab = a_.spec().vocab, tokens = static_cast<int64_t>(window_.ids.size());
    const int64_t count = a.count();
    std::vector<PositionScore> scores(static_cast<size_t>(count));
    lane.divergence(a, b, scores);
    const float *za = lane.host(a), *zb = lane.host(b);
    for (int64_t i = 0; i < count; ++i) {
      const float *pa = za + i * vocab, *pb = zb + i * vocab;
      const PositionScore& d = scores[static_cast<size_t>(i)];
      Position position{.kl = d.kl,
                        .same_top = largest(pa, vocab) == largest(pb, vocab),
                        .scored = false,
                        .nll_a = 0,
                        .nll_b = 0,
                        .delta_p = 0};
      const int64_t target = first + i + 1;
      if (target >= window_.first_target && target < tokens) {
        const int32_t id = window_.ids[static_cast<size_t>(target)];
        position.scored = true;
        position.nll_a = d.lse_p - pa[id];
        position.nll_b = d.lse_q - pb[id];
        position.delta_p = std::exp(-position.nll_b) - std::exp(-position.nll_a);
      }
      // Positions whose next token counts, and, in a window scored from its start, the last one
      // too.
      if (position.scored || (window_.first_target == 1 && target == tokens))
        out_.push_back(position);
    }
  }

  const Model &a_, &b_;
  const TextWindow& window_;
  std::vector<Position>& out_;
};

Percentiles percentiles_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  Percentiles result{};
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = percentile(values, kPercentiles[i].percent);
  return result;
}

void add_perplexities(const std::vector<double>& a, const std::vector<double>& b,
                      CompareReport& report) {
  const MeanError mean_a = mean_error(a), mean_b = mean_error(b);
  std::vector<double> difference, product;
  for (size_t i = 0; i < a.size(); ++i) {
    difference.push_back(b[i] - a[i]);
    product.push_back((a[i] - mean_a.mean) * (b[i] - mean_b.mean));
  }
  const MeanError ratio = mean_error(difference), covariance = mean_error(product);
  const double n = static_cast<double>(a.size());
  const double ppl_a = std::exp(mean_a.mean), ppl_b = std::exp(mean_b.mean);
  const double errors = mean_a.error * mean_b.error * std::max(n - 1, 1.0);
  // First-order propagation of the two correlated errors.
  const double ea = ppl_a * mean_a.error, eb = ppl_b * mean_b.error;
  const double cov = ppl_a * ppl_b * covariance.mean / std::max(n - 1, 1.0);
  report.ppl_a = {ppl_a, ea};
  report.ppl_b = {ppl_b, eb};
  report.ln_ppl_correlation = errors > 0 ? covariance.mean / errors : 1.0;
  report.ln_ppl_ratio = ratio;
  report.ppl_ratio = {std::exp(ratio.mean), std::exp(ratio.mean) * ratio.error};
  report.ppl_difference = {ppl_b - ppl_a, std::sqrt(std::max(0.0, ea * ea + eb * eb - 2 * cov))};
}

CompareReport summary(const std::vector<Position>& positions) {
  std::vector<double> kl, same, nll_a, nll_b, delta_p, delta_p2;
  for (const Position& p : positions) {
    kl.push_back(p.kl);
    same.push_back(p.same_top ? 1 : 0);
    if (!p.scored) continue;
    nll_a.push_back(p.nll_a);
    nll_b.push_back(p.nll_b);
    delta_p.push_back(p.delta_p);
    delta_p2.push_back(p.delta_p * p.delta_p);
  }
  const MeanError dp2 = mean_error(delta_p2);
  const double rms = std::sqrt(dp2.mean);
  CompareReport report;
  report.kl = mean_error(kl);
  report.kl_percentiles = percentiles_of(kl);
  report.top1_agreement = mean_error(same);
  add_perplexities(nll_a, nll_b, report);
  report.delta_p = mean_error(delta_p);
  report.delta_p_rms = {rms, rms > 0 ? dp2.error / (2 * rms) : 0.0};
  report.delta_p_percentiles = percentiles_of(delta_p);
  report.tokens = positions.size();
  return report;
}

}  // namespace

CompareReport compare(const Model& a, const Model& b, const Tokenizer& tokenizer,
                      std::string_view text, const WindowOptions& options, Progress& progress) {
  if (a.spec().vocab != b.spec().vocab)
    throw Error(ErrorKind::kBadArgument, a.checkpoint().path + " and " + b.checkpoint().path +
                                             ": vocabularies of " + std::to_string(a.spec().vocab) +
                                             " and " + std::to_string(b.spec().vocab) +
                                             " cannot be compared");
  const std::vector<TextWindow> windows =
      cut_windows(text_ids(a, tokenizer, text), options, a.spec());
  std::vector<std::vector<Position>> parts(windows.size());
  progress.stage("compare", static_cast<double>(windows.size()));
  const auto begin = std::chrono::steady_clock::now();
  a.device().run_jobs(static_cast<int64_t>(windows.size()), [&](int64_t i, Lane& lane) {
    const size_t w = static_cast<size_t>(i);
    WindowComparison(a, b, windows[w], parts[w]).run(lane);
    progress.step();
  });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::vector<Position> positions;
  int64_t run = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    positions.insert(positions.end(), parts[w].begin(), parts[w].end());
    run += static_cast<int64_t>(windows[w].ids.size());
  }
  CompareReport report = summary(positions);
  if (!std::isfinite(report.kl.mean))
    throw Error(ErrorKind::kBadFile,
                b.checkpoint().path + " or " + a.checkpoint().path +
                    ": the logits are not finite: damaged weights; run klens inspect --verify");
  report.windows = windows.size();
  report.tok_s = static_cast<double>(run) / seconds;
  return report;
}

}  // namespace klens
