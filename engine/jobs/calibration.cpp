#include "engine/jobs/calibration.h"

#include <algorithm>
#include <cmath>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/stages.h"
#include "engine/jobs/text_windows.h"
#include "engine/sampler.h"
#include "loaders/profile_json.h"

namespace klens {
namespace {

// Sampled side by side: enough for arithmetic to take as long as reading the weights. What is lost
// by an interruption is as many.
constexpr size_t kSideBySide = 8;

// A window that is being sampled.
struct Sample {
  Sample(const Model& model, uint64_t seed)
      : sampler({.temperature = 1, .repeat_penalty = 1, .repeat_last_n = 0, .seed = seed}),
        state(model.initial_state()) {
    const ModelSpec& spec = model.spec();
    const std::vector<StopToken>& stops = model.checkpoint().stop_tokens;
    ids.push_back(spec.bos ? *spec.bos : stops.empty() ? 0 : stops.front().id);
    model.check_ids(ids);
  }
  Sampler sampler;
  SequenceState state;
  std::vector<int32_t> ids;
};

// One more token for each, with the bits that it would get alone.
void sample_next(const Model& model, int64_t ctx, std::span<Sample> samples, Lane& lane) {
  const int64_t count = static_cast<int64_t>(samples.size()), vocab = model.spec().vocab;
  const int64_t prefix = model.prefix_rows();
  std::vector<int32_t> last;
  std::vector<Sequence> sequences;
  for (Sample& sample : samples) {
    sequences.push_back({.state = &sample.state,
                         .row = static_cast<int64_t>(last.size()),
                         .tokens = 1,
                         .position = prefix + static_cast<int64_t>(sample.ids.size()) - 1,
                         .horizon = prefix + ctx});
    last.push_back(sample.ids.back());
  }
  const Lane::Frame frame(lane);
  const Rows x = lane.take(count, model.spec().d_model), logits = lane.take(count, vocab);
  model.run({.ids = last, .sequences = sequences, .weights = model.weights()}, x, lane);
  model.head(x, logits, model.weights(), lane);
  const float* row = lane.host(logits);
  std::vector<float> own(static_cast<size_t>(vocab));
  for (Sample& sample : samples) {
    std::copy_n(row, own.size(), own.begin());
    sample.ids.push_back(sample.sampler.sample(own));
    row += vocab;
  }
}

// A text's ids and its turn.
struct Share {
  std::vector<int32_t> ids;
  double weight, due = 0;  // in windows
  size_t at = 0;

  bool measured = false;  // whether a window of it is among those that are measured

  bool used_up(int64_t ctx) const { return ids.size() - at < static_cast<size_t>(ctx); }
  std::vector<int32_t> take(int64_t ctx) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(at);
    at += static_cast<size_t>(ctx);
    return {first, first + ctx};
  }
};

// Whose part is most behind.
Share& next_of(std::vector<Share>& shares, double weights) {
  for (Share& share : shares) share.due += share.weight / weights;
  Share& next = *std::ranges::max_element(shares, {}, &Share::due);
  next.due -= 1;
  return next;
}

// What is measured, what quantizers see, and what is held out, of windows that may be fewer.
Calibration parted(Windows all, int64_t windows, int64_t seen, int64_t held_out) {
  const auto left = [&](int64_t wanted) {
    return std::min(static_cast<int64_t>(all.size()), wanted);
  };
  const auto take_last = [&](int64_t count) {
    Windows taken(std::make_move_iterator(all.end() - count), std::make_move_iterator(all.end()));
    all.resize(all.size() - static_cast<size_t>(count));
    return taken;
  };
  Calibration result;
  const int64_t measured = left(windows);
  result.held_out = take_last(std::min(left(held_out), left(windows + held_out) - measured));
  result.seen = take_last(static_cast<int64_t>(all.size()) - measured);
  result.windows = std::move(all);
  for (const std::vector<int32_t>& window : result.windows)
    if (static_cast<int64_t>(result.seen.size()) < seen) result.seen.push_back(window);
  return result;
}

}  // namespace

std::string source_name(std::span<const CalibrationText> texts) {
  if (texts.size() == 1) return texts.front().name;
  std::string all;
  for (const CalibrationText& text : texts)
    all += (all.empty() ? "" : " + ") + number_text(text.weight) + " " + text.name;
  return all;
}

Calibration calibrate_on_texts(const Model& model, const Tokenizer& tokenizer,
                               std::span<const CalibrationText> texts, int64_t ctx, int64_t windows,
                               int64_t held_out) {
  std::vector<Share> shares;
  double weights = 0;
  for (const CalibrationText& text : texts) {
    if (!(text.weight > 0) || !std::isfinite(text.weight))
      throw Error(ErrorKind::kBadArgument,
                  "the weight of calibration text " + text.name + " is not a number above 0");
    weights += text.weight;
    shares.push_back({text_ids(model, tokenizer, text.text), text.weight});
    const size_t tokens = shares.back().ids.size(), whole = static_cast<size_t>(ctx);
    if (tokens >= whole) continue;
    if (tokens < 2 || texts.size() > 1)
      throw Error(ErrorKind::kBadArgument,
                  "calibration text " + text.name + " has " + std::to_string(tokens) +
                      " tokens, fewer than " +
                      (texts.size() > 1 ? "a window of " + std::to_string(ctx) : "2") +
                      "; give a longer one");
    return parted({shares.back().ids}, 1, 1, 0);
  }
  const int64_t seen = std::max(windows, (kLeastSeenTokens - 1) / ctx + 1);
  Windows all;
  while (static_cast<int64_t>(all.size()) < windows + seen + held_out) {
    Share& next = next_of(shares, weights);
    if (next.used_up(ctx)) break;
    next.measured = next.measured || static_cast<int64_t>(all.size()) < windows;
    all.push_back(next.take(ctx));
  }
  for (size_t i = 0; i < shares.size(); ++i)
    if (!shares[i].measured)
      throw Error(ErrorKind::kBadArgument,
                  "calibration text " + texts[i].name + " has none of the " +
                      std::to_string(std::min<int64_t>(windows, static_cast<int64_t>(all.size()))) +
                      " windows by these weights; give more windows, or it more weight");
  return parted(std::move(all), windows, seen, held_out);
}

Windows sample_windows(const Model& model, int64_t ctx, int64_t count, uint64_t seed,
                       Progress& progress, Journal& journal) {
  Windows sampled(static_cast<size_t>(count));
  progress.stage(stages::kSample, static_cast<double>(sampled.size()));
  // An odd multiplier keeps the windows of one seed apart from each other and from those of the
  // next.
  const auto seed_of = [&](size_t i) { return seed * 0x9e3779b97f4a7c15u + i; };
  const auto name_of = [&](size_t i) {
    return "sample " + std::to_string(ctx) + " " + std::to_string(seed_of(i));
  };
  std::vector<size_t> missing;
  for (size_t i = 0; i < sampled.size(); ++i) {
    if (const auto found = find_ids(journal, name_of(i))) {
      sampled[i] = *found;
      progress.step();
    } else {
      missing.push_back(i);
    }
  }
  // Ranks sample next to each other, as many each.
  const Ranks& ranks = journal.ranks();
  for (size_t begin = 0; begin < missing.size();) {
    const size_t left = missing.size() - begin;
    const size_t each = std::min(kSideBySide, (left - 1) / ranks.count() + 1);
    const std::span all = std::span(missing).subspan(begin, std::min(each * ranks.count(), left));
    const size_t first = std::min(each * ranks.index(), all.size());
    const std::span own = all.subspan(first, std::min(each, all.size() - first));
    std::vector<Sample> samples;
    for (const size_t i : own) samples.emplace_back(model, seed_of(i));
    model.device().run([&](Lane& lane) {
      for (int64_t length = 1; length < ctx && !samples.empty(); ++length) {
        sample_next(model, ctx, samples, lane);
        progress.step(static_cast<double>(all.size()) / static_cast<double>(ctx - 1));
      }
    });
    for (size_t s = 0; s < own.size(); ++s) {
      sampled[own[s]] = std::move(samples[s].ids);
      keep_ids(journal, name_of(own[s]), sampled[own[s]]);
    }
    journal.share();
    for (const size_t i : all)
      if (sampled[i].empty()) sampled[i] = *find_ids(journal, name_of(i));
    begin += all.size();
  }
  return sampled;
}

Calibration calibrate_on_samples(const Model& model, int64_t ctx, int64_t windows, int64_t held_out,
                                 uint64_t seed, Progress& progress, Journal& journal) {
  return parted(sample_windows(model, ctx, 2 * windows + held_out, seed, progress, journal),
                windows, windows, held_out);
}

}  // namespace klens
