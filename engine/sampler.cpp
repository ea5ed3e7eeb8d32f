#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace klens {

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

void Sampler::accept(int32_t id) {
  recent_.push_back(id);
  if (recent_.size() > static_cast<size_t>(options_.repeat_last_n)) recent_.pop_front();
}

// Keskar et al., arXiv 1909.05858, sec. 4.1: each recent token once, however often it came.
void Sampler::penalise() {
  if (options_.repeat_penalty == 1) return;
  std::vector<int32_t> recent(recent_.begin(), recent_.end());
  std::sort(recent.begin(), recent.end());
  recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
  for (const int32_t id : recent) {
    if (id < 0 || static_cast<size_t>(id) >= entries_.size()) continue;
    float& logit = entries_[static_cast<size_t>(id)].logit;
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
  }
}

// Keeps the entries that top-k, top-p and min-p allow, likeliest first.
void Sampler::cut() {
  const auto likelier = [](const Entry& a, const Entry& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  size_t keep = entries_.size();
  if (options_.top_k > 0) keep = std::min(keep, static_cast<size_t>(options_.top_k));
  std::partial_sort(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(keep),
                    entries_.end(), likelier);
  entries_.resize(keep);
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
  return entries_.back().id;
}

int32_t Sampler::sample(std::span<const float> logits) {
  KLENS_CHECK(!logits.empty());
  entries_.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    entries_.push_back({static_cast<int32_t>(i), logits[i], 0});
  penalise();
  int32_t chosen = 0;
  if (options_.temperature == 0) {
    chosen = std::max_element(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
               return a.logit < b.logit;
             })->id;
  } else {
    cut();
    chosen = draw();
  }
  accept(chosen);
  return chosen;
}

}  // namespace klens
