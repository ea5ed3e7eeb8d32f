#include "engine/jobs/calibration.h"

#include "engine/jobs/profile_state.h"
#include "engine/jobs/text_windows.h"
#include "engine/sampler.h"
#include "engine/walk.h"

namespace klens {
namespace {

std::vector<int32_t> sample_window(const Model& model, int64_t ctx, uint64_t seed, Lane& lane) {
  const ModelSpec& spec = model.spec();
  const std::vector<StopToken>& stops = model.checkpoint().stop_tokens;
  const int32_t start = spec.bos ? *spec.bos : stops.empty() ? 0 : stops.front().id;
  std::vector<int32_t> ids = {start};
  model.check_ids(ids);
  Sampler sampler({.temperature = 1, .repeat_penalty = 1, .repeat_last_n = 0, .seed = seed});
  Walk walk(model, ctx);
  std::vector<float> logits(static_cast<size_t>(spec.vocab));
  while (static_cast<int64_t>(ids.size()) < ctx) {
    const Lane::Frame frame(lane);
    const Rows rows = lane.take(1, spec.vocab);
    model.head(walk.feed({&ids.back(), 1}, lane), rows, model.weights(), lane);
    std::copy_n(lane.host(rows), logits.size(), logits.begin());
    ids.push_back(sampler.sample(logits));
  }
  return ids;
}

}  // namespace

Calibration calibrate_on_text(const Model& model, const Tokenizer& tokenizer, std::string_view text,
                              int64_t ctx, int64_t windows, int64_t held_out) {
  const std::vector<int32_t> ids = text_ids(model, tokenizer, text);
  Calibration result;
  const int64_t whole = static_cast<int64_t>(ids.size()) / ctx;
  if (whole == 0) {
    if (ids.size() < 2)
      throw Error(ErrorKind::kBadArgument,
                  "the calibration text has fewer than 2 tokens; give a longer one");
    result.windows.push_back(ids);
    return result;
  }
  const int64_t seen = std::max(windows, (kLeastSeenTokens - 1) / ctx + 1);
  for (int64_t w = 0; w < std::min(whole, seen + held_out); ++w)
    (w >= windows && w < windows + held_out ? result.held_out : result.windows)
        .emplace_back(ids.begin() + w * ctx, ids.begin() + (w + 1) * ctx);
  return result;
}

Calibration calibrate_on_samples(const Model& model, int64_t ctx, int64_t windows, int64_t held_out,
                                 uint64_t seed, Progress& progress, Journal& journal) {
  Windows sampled(static_cast<size_t>(windows + held_out));
  progress.stage("sample calibration text", static_cast<double>(sampled.size()));
  model.device().run_jobs(windows + held_out, [&](int64_t i, Lane& lane) {
    // An odd multiplier keeps the windows of one seed apart from each other and from those of the
    // next.
    const uint64_t own = seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(i);
    const std::string name = "sample " + std::to_string(ctx) + " " + std::to_string(own);
    std::vector<int32_t>& window = sampled[static_cast<size_t>(i)];
    if (const auto found = find_ids(journal, name)) {
      window = *found;
    } else {
      window = sample_window(model, ctx, own, lane);
      keep_ids(journal, name, window);
    }
    progress.step();
  });
  Calibration result;
  result.windows.assign(sampled.begin(), sampled.begin() + windows);
  result.held_out.assign(sampled.begin() + windows, sampled.end());
  return result;
}

}  // namespace klens
