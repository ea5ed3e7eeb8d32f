#include "quant/planners/activations.h"

#include <algorithm>

namespace klens {
namespace {

using Candidates = std::vector<const Candidate*>;

bool is_fine(const Candidate* c) { return c->choice.activation_bits == kFineActivationBits; }

// The same candidate with activations of so many bits; null where there is none.
const Candidate* twin(const Candidate* c, int activation_bits, const Candidates& open) {
  Choice wanted = c->choice;
  wanted.activation_bits = activation_bits;
  const auto found =
      std::ranges::find_if(open, [&](const Candidate* other) { return other->choice == wanted; });
  return found == open.end() ? nullptr : *found;
}

// Without candidates whose activations lose something that a twin's do not.
Candidates without_coarse_twins(const Candidates& open) {
  Candidates kept;
  for (const Candidate* c : open)
    if (is_fine(c) || twin(c, kFineActivationBits, open) == nullptr) kept.push_back(c);
  return kept;
}

// Gives units 8 bits, those that lose least by it first, as long as all of them lose no more than
// `allowed`. Returns what they lose.
double coarsen(double allowed, const PlanningTask& task, Selection& selection) {
  struct Step {
    double kl;
    size_t unit;
    const Candidate* to;
  };
  std::vector<Step> steps;
  for (size_t u = 0; u < selection.size(); ++u) {
    if (!is_fine(selection[u])) continue;
    const Candidate* coarse = twin(selection[u], Choice().activation_bits, task.open[u]);
    if (coarse != nullptr && has_kl(*coarse))
      steps.push_back({*coarse->kl - *selection[u]->kl, u, coarse});
  }
  std::ranges::stable_sort(steps, {}, &Step::kl);
  double lost = 0;
  for (const Step& step : steps) {
    if (lost + step.kl > allowed) break;
    lost += step.kl;
    selection[step.unit] = step.to;
  }
  return lost;
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
  PlanningTask fine = task;
  bool twins = false;
  for (Candidates& open : fine.open) {
    const size_t all = open.size();
    open = without_coarse_twins(open);
    twins = twins || open.size() < all;
  }
  if (!twins) return plan(task);
  if (task.max_kl) fine.max_kl = *task.max_kl / (1 + kActivationShare);
  MethodResult result = plan(fine);
  if (task.max_kl && std::holds_alternative<Unreachable>(result)) {
    fine.max_kl = task.max_kl;
    result = plan(fine);
  }
  if (auto* selected = std::get_if<Selected>(&result)) {
    const double kl = kl_of(selected->selection).value_or(0);
    const double lost =
        coarsen(task.max_kl ? *task.max_kl - kl : kActivationShare * kl, task, selected->selection);
    if (selected->gap && !task.max_kl) *selected->gap += std::max(lost, 0.0);
  }
  return result;
}

}  // namespace klens
