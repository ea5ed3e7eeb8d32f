#include "engine/jobs/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace klens {
namespace {

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += !space && !inside;
    inside = !space;
  }
  return words;
}

NllSum score_window(const Model& model, const TextWindow& window, Lane& lane) {
  NllSum nll;
  const int64_t vocab = model.spec().vocab, tokens = static_cast<int64_t>(window.ids.size());
  std::vector<double> sums;
  window_logits(model, window.ids, lane, [&](int64_t first, const Rows& rows) {
    // Those whose next token counts.
    const int64_t begin = std::max<int64_t>(window.first_target - first - 1, 0);
    const int64_t end = std::min(rows.count(), tokens - first - 1);
    if (begin >= end) return;
    const Rows scored = rows.rows(begin, end - begin);
    sums.resize(static_cast<size_t>(scored.count()));
    lane.log_sum_exp(scored, sums);
    const float* logits = lane.host(scored);
    for (int64_t i = 0; i < scored.count(); ++i) {
      const int32_t id = window.ids[static_cast<size_t>(first + begin + i + 1)];
      const double loss = -(double{logits[i * vocab + id]} - sums[static_cast<size_t>(i)]);
      nll.sum += loss;
      nll.squares += loss * loss;
      ++nll.tokens;
    }
  });
  return nll;
}

}  // namespace

NllSum score_windows(const Model& model, const std::vector<TextWindow>& windows,
                     Progress& progress) {
  std::vector<NllSum> scores(windows.size());
  progress.stage("perplexity", static_cast<double>(windows.size()));
  model.device().run_jobs(static_cast<int64_t>(windows.size()), [&](int64_t i, Lane& lane) {
    const size_t w = static_cast<size_t>(i);
    scores[w] = score_window(model, windows[w], lane);
    progress.step();
  });
  NllSum total;
  for (const NllSum& score : scores) {
    total.sum += score.sum;
    total.squares += score.squares;
    total.tokens += score.tokens;
  }
  if (!std::isfinite(total.sum))
    throw Error(ErrorKind::kBadFile, model.checkpoint().path +
                                         ": the logits are not finite: its weights are damaged "
                                         "or overflow; run klens inspect --verify");
  return total;
}

PerplexityReport perplexity(const Model& model, const Tokenizer& tokenizer, std::string_view text,
                            const WindowOptions& options, Progress& progress) {
  const std::vector<int32_t> ids = text_ids(model, tokenizer, text);
  const std::vector<TextWindow> windows = cut_windows(ids, options, model.spec());
  const auto begin = std::chrono::steady_clock::now();
  const NllSum nll = score_windows(model, windows, progress);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  const int64_t stride =
      options.stride == 0 || options.llama_protocol ? options.ctx : options.stride;
  const int64_t last = static_cast<int64_t>(windows.size() - 1) * stride;
  const int64_t covered = std::min<int64_t>(static_cast<int64_t>(ids.size()),
                                            last + static_cast<int64_t>(windows.back().ids.size()));
  const std::string covered_text =
      tokenizer.decode({ids.data(), static_cast<size_t>(covered)}, false);
  const MeanError mean = mean_error(nll.sum, nll.squares, nll.tokens);
  const double total = mean.mean * static_cast<double>(covered);
  int64_t run = 0;
  for (const TextWindow& window : windows) run += static_cast<int64_t>(window.ids.size());
  const double words = static_cast<double>(std::max<int64_t>(count_words(covered_text), 1));
  const double bytes = static_cast<double>(std::max<size_t>(covered_text.size(), 1));
  return {.tokens = nll.tokens,
          .windows = windows.size(),
          .nll = mean.mean,
          .ppl = {std::exp(mean.mean), std::exp(mean.mean) * mean.error},
          .word_ppl = std::exp(total / words),
          .bits_per_byte = total / std::log(2.0) / bytes,
          .tok_s = static_cast<double>(run) / seconds};
}

}  // namespace klens
