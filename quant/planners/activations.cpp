#include "quant/planners/activations.h"

#include <algorithm>
#include <numeric>

namespace klens {
namespace {

using Candidates = std::vector<const Candidate*>;

bool is_fine(const Candidate* c) { return c->choice.activation_bits == kFineActivationBits; }

// What the candidate loses more than with activations of 16 bits; 0 where that is not known.
double lost_by_activations(const Candidate* chosen, const Candidates& open) {
  Choice fine = chosen->choice;
  fine.activation_bits = kFineActivationBits;
  for (const Candidate* c : open)
    if (c->choice == fine && has_kl(*c) && has_kl(*chosen)) return *chosen->kl - *c->kl;
  return 0;
}

// Of units that the first plan has in 16 bits, only those.
Candidates fine_ones(const Candidates& open) {
  Candidates kept;
  for (const Candidate* c : open)
    if (is_fine(c) || find_format(c->choice.format)->activation_group == 0) kept.push_back(c);
  return kept;
}

// The units to change, those that lose most first, until the rest lose little enough.
std::vector<size_t> worst(const Selection& selection, const PlanningTask& task) {
  std::vector<std::pair<double, size_t>> lost;
  double by_activations = 0;
  for (size_t u = 0; u < selection.size(); ++u) {
    lost.emplace_back(lost_by_activations(selection[u], task.open[u]), u);
    by_activations += lost.back().first;
  }
  const double by_weights = kl_of(selection).value_or(0) - by_activations;
  const double allowed = std::max(kActivationShare * by_weights, kNegligibleKl);
  std::ranges::stable_sort(lost, std::greater<>(), [](const auto& entry) { return entry.first; });
  std::vector<size_t> units;
  for (const auto& [kl, u] : lost) {
    if (by_activations <= allowed || kl <= 0) break;
    by_activations -= kl;
    units.push_back(u);
  }
  return units;
}

}  // namespace

std::vector<Candidates> with_coarse_activations(const PlanningTask& task) {
  std::vector<Candidates> open = task.open;
  for (Candidates& candidates : open)
    if (!std::ranges::all_of(candidates, is_fine)) std::erase_if(candidates, is_fine);
  return open;
}

MethodResult plan_with_activations(const PlanningTask& task,
                                   MethodResult (*plan)(const PlanningTask&)) {
  PlanningTask narrowed = task;
  narrowed.open = with_coarse_activations(task);
  while (true) {
    MethodResult result = plan(narrowed);
    std::vector<size_t> units;
    if (const Selected* selected = std::get_if<Selected>(&result)) {
      units = worst(selected->selection, task);
    } else if (task.max_kl) {  // perhaps out of reach for activations alone
      units.resize(task.open.size());
      std::iota(units.begin(), units.end(), size_t{0});
    }
    bool changed = false;
    for (const size_t u : units) {
      Candidates fine = fine_ones(task.open[u]);
      changed = changed || (!fine.empty() && fine != narrowed.open[u]);
      if (!fine.empty()) narrowed.open[u] = std::move(fine);
    }
    if (!changed) return result;
  }
}

}  // namespace klens
