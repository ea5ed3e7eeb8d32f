#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace klens {
namespace {
constexpr float kNever = -std::numeric_limits<float>::infinity();
}

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

void Sampler::accept(int32_t id) {
  recent_.push_back(id);
  if (recent_.size() > static_cast<size_t>(options_.repeat_last_n)) recent_.pop_front();
}

void Sampler::restrict_to(size_t size, std::vector<int32_t> holes) {
  size_ = size;
  holes_ = std::move(holes);
}

void Sampler::constrain(std::shared_ptr<const grammar::Constraint> constraint) {
  matcher_.reset();
  if (constraint) matcher_.emplace(std::move(constraint));
}

void Sampler::forbid() {
  for (size_t i = size_; i < logits_.size(); ++i) logits_[i] = kNever;
  for (const int32_t id : holes_)
    if (static_cast<size_t>(id) < logits_.size()) logits_[static_cast<size_t>(id)] = kNever;
}

void Sampler::keep_allowed() {
  if (!matcher_) return;
  allowed_.resize(std::max(matcher_->mask_words(), (logits_.size() + 63) / 64));
  std::fill(allowed_.begin(), allowed_.end(), 0);
  matcher_->mask(std::span(allowed_).first(matcher_->mask_words()));
  bool any = false;
  for (size_t i = 0; i < logits_.size(); ++i) {
    const bool may = (allowed_[i / 64] >> (i % 64) & 1) != 0;
    if (!may) logits_[i] = kNever;
    any = any || logits_[i] > kNever;
  }
  if (any) return;
  if (matcher_->complete() || matcher_->ended())
    throw Error(ErrorKind::kBadArgument,
                "the text has come to the end of its grammar: nothing may follow; stop there");
  throw Error(ErrorKind::kUnsupported,
              "no token of the vocabulary can go on as the grammar asks: its tokenizer has no "
              "token for what must come next; change the grammar");
}

// Keskar et al., arXiv 1909.05858, sec. 4.1: each recent token once, however often it came.
void Sampler::penalise() {
  if (options_.repeat_penalty == 1) return;
  std::vector<int32_t> recent(recent_.begin(), recent_.end());
  std::sort(recent.begin(), recent.end());
  recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
  for (const int32_t id : recent) {
    if (id < 0 || static_cast<size_t>(id) >= logits_.size()) continue;
    float& logit = logits_[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
  }
}

// Fills entries_ with the `count` likeliest, in order. The vocabulary is not sorted: whatever is
// below the least of the best so far is passed over, and of the rest only some times `count` are
// looked at together.
void Sampler::take_likeliest(size_t count) {
  const auto likelier = [](const Entry& a, const Entry& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  count = std::min(count, logits_.size());
  const auto end = static_cast<std::ptrdiff_t>(count);
  entries_.clear();
  float least = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits_.size(); ++i) {
    // An equal one with a greater id comes after those that are already there.
    if (entries_.size() >= count && logits_[i] <= least) continue;
    entries_.push_back({static_cast<int32_t>(i), logits_[i], 0});
    if (entries_.size() < 4 * count) continue;
    std::nth_element(entries_.begin(), entries_.begin() + end - 1, entries_.end(), likelier);
    entries_.resize(count);
    least = entries_.back().logit;
  }
  std::partial_sort(entries_.begin(), entries_.begin() + end, entries_.end(), likelier);
  entries_.resize(count);
}

// Keeps the entries that top-k, top-p and min-p allow, likeliest first.
void Sampler::cut() {
  take_likeliest(options_.top_k > 0 ? static_cast<size_t>(options_.top_k) : logits_.size());
  double total = 0;
  for (Entry& entry : entries_)
    total += entry.weight = std::exp(double{entry.logit} - entries_[0].logit);
  double sum = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    // The likeliest always stays. An entry is kept while those before it do not yet reach top-p.
    if (i > 0 && (sum >= options_.top_p * total || entries_[i].weight < double{options_.min_p})) {
      entries_.resize(i);
      break;
    }
    sum += entries_[i].weight;
  }
}

int32_t Sampler::draw() {
  double total = 0;
  for (Entry& entry : entries_)
    total += entry.weight =
        std::exp((double{entry.logit} - entries_[0].logit) / options_.temperature);
  // std distributions differ between libraries; these 53 bits do not.
  double at = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  for (const Entry& entry : entries_) {
    at -= entry.weight;
    if (at < 0) return entry.id;
  }
  // Rounding: the least likely that can be at all.
  size_t last = entries_.size() - 1;
  while (last > 0 && entries_[last].weight == 0) --last;
  return entries_[last].id;
}

int32_t Sampler::sample(std::span<const float> logits) {
  KLENS_CHECK(!logits.empty());
  logits_.assign(logits.begin(), logits.end());
  penalise();
  forbid();
  keep_allowed();
  int32_t chosen = 0;
  if (options_.temperature == 0) {
    chosen =
        static_cast<int32_t>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  } else {
    cut();
    chosen = draw();
  }
  if (matcher_) KLENS_CHECK(matcher_->accept(chosen));
  accept(chosen);
  return chosen;
}

}  // namespace klens
