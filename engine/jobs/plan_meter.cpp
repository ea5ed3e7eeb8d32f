#include "engine/jobs/plan_meter.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "engine/jobs/refine.h"
#include "engine/walk.h"

namespace klens {
namespace {

class Meter {
 public:
  Meter(const Model& model, const Windows& windows, const UnitInputs& inputs,
        const MeterOptions& options, Progress& progress, Journal& journal)
      : model_(model),
        windows_(windows),
        inputs_(inputs),
        options_(options),
        progress_(progress),
        journal_(journal),
        runner_(model, nullptr, inputs) {}

  TextFigures run(std::vector<PlanFigures>& plans) {
    std::vector<Measured> all;
    double done = 0;
    for (PlanFigures& figures : plans) {
      all.push_back(kept(figures));
      for (const auto& score : all.back().scores) done += score ? 1 : 0;
      done += timed(all.back()) ? 1 : 0;
    }
    progress_.stage("measure plans", static_cast<double>(all.size() * (windows_.size() + 1)), done);
    std::vector<Measured*> open;
    for (Measured& plan : all)
      if (!scored(plan) || !timed(plan)) open.push_back(&plan);
    for (size_t begin = 0; begin < open.size();) {
      const size_t end = batch_end(open, begin);
      measure(std::span(open).subspan(begin, end - begin));
      begin = end;
    }
    TextFigures text;
    for (const Measured& plan : all) text = finish(plan);
    return text;
  }

 private:
  // A unit's weights; they do not depend on what activations have.
  using Key = std::pair<size_t, Choice>;

  struct Measured {
    PlanFigures* figures = nullptr;
    std::vector<std::optional<WindowScore>> scores;  // by window
    std::vector<Weight> weights;                     // while it is being measured
  };

  static bool scored(const Measured& plan) {
    return std::ranges::all_of(plan.scores, [](const auto& score) { return score.has_value(); });
  }
  bool timed(const Measured& plan) const {
    return options_.generate == 0 || plan.figures->tok_s.has_value();
  }

  // What an earlier run has measured.
  Measured kept(PlanFigures& figures) const {
    const JournalScores scores(journal_, &figures.plan);
    Measured plan;
    plan.figures = &figures;
    for (const auto& window : windows_) plan.scores.push_back(scores.find(window, nullptr));
    if (options_.generate == 0) return plan;
    if (const auto found = find_numbers(journal_, speed_name(figures.plan), 2)) {
      figures.tok_s = found->at(0);
      figures.tok_s_stddev = found->at(1);
    }
    return plan;
  }

  std::string speed_name(const Plan& plan) const {
    std::string name = "speed " + std::to_string(model_.options().threads) + " " +
                       std::to_string(options_.generate) + " " +
                       std::to_string(options_.repetitions);
    for (const auto& [unit, choice] : plan.units) name += " " + unit + " " + klens::text_of(choice);
    return name;
  }

  std::vector<Key> keys_of(const Plan& plan) const {
    std::vector<Key> keys;
    for (size_t u = 0; u < model_.units().size(); ++u) {
      Choice choice = plan.units.at(model_.units()[u].name);
      choice.activation_bits = Choice().activation_bits;
      keys.emplace_back(u, choice);
    }
    return keys;
  }

  // Past the last plan from `begin` on that fits into memory with those before it.
  size_t batch_end(const std::vector<Measured*>& open, size_t begin) const {
    std::set<Key> all;
    int64_t bytes = 0;
    for (size_t i = begin; i < open.size(); ++i) {
      for (const Key& key : keys_of(open[i]->figures->plan)) {
        const LinearSpec& unit = model_.units()[key.first];
        if (all.insert(key).second)
          bytes += static_cast<int64_t>(
              packed_bytes(*find_format(key.second.format), unit.rows, unit.cols));
      }
      if (i > begin && bytes > options_.packed_bytes) return i;
    }
    return open.size();
  }

  // The units of these plans, those of the plans before them as they are.
  void pack(std::span<Measured* const> plans) {
    std::set<Key> wanted;
    for (const Measured* plan : plans)
      for (Key& key : keys_of(plan->figures->plan)) wanted.insert(std::move(key));
    std::erase_if(packed_, [&](const auto& entry) { return !wanted.contains(entry.first); });
    for (const Key& key : wanted) {
      if (packed_.contains(key)) continue;
      packed_.emplace(key, std::make_shared<const PackedWeight>(
                               quantise_unit(model_, key.first, key.second, inputs_)));
      progress_.step(0);  // asks whether to stop
    }
    for (Measured* plan : plans) {
      const std::vector<Key> keys = keys_of(plan->figures->plan);
      plan->weights = model_.weights();
      for (size_t u = 0; u < keys.size(); ++u) {
        const PackedWeight& weight = *packed_.at(keys[u]);
        const Choice& choice = plan->figures->plan.units.at(model_.units()[u].name);
        plan->weights[u] =
            make_weight(weight.view(), weight.format, choice.activation_bits, model_);
      }
    }
  }

  void measure(std::span<Measured* const> plans) {
    pack(plans);
    for (size_t w = 0; w < windows_.size(); ++w) score(w, plans);
    for (Measured* plan : plans) {
      if (!timed(*plan)) time(*plan);
      plan->weights.clear();
    }
  }

  void score(size_t w, std::span<Measured* const> plans) {
    std::vector<Measured*> open;
    for (Measured* plan : plans)
      if (!plan->scores[w]) open.push_back(plan);
    if (open.empty()) return;
    const std::vector<int32_t>& window = windows_[w];
    runner_.begin_window(window);
    model_.device().run_jobs(static_cast<int64_t>(open.size()), [&](int64_t i, Lane& lane) {
      Measured& plan = *open[static_cast<size_t>(i)];
      plan.scores[w] = runner_.run_whole(plan.weights, lane);
      JournalScores(journal_, &plan.figures->plan).keep(window, nullptr, *plan.scores[w]);
      progress_.step();
    });
  }

  double decode_tok_s(const Measured& plan, std::span<const int32_t> ids) const {
    Walk walk(model_, options_.generate, plan.weights);
    const auto begin = std::chrono::steady_clock::now();
    for (const int32_t& id : ids)
      model_.device().run([&](Lane& lane) {
        const Lane::Frame frame(lane);
        const Rows logits = lane.take(1, model_.spec().vocab);
        model_.head(walk.feed({&id, 1}, lane), logits, plan.weights, lane);
      });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(ids.size()) / seconds.count();
  }

  void time(Measured& plan) {
    std::mt19937_64 random(1);
    std::vector<int32_t> ids(static_cast<size_t>(options_.generate));
    for (int32_t& id : ids)
      id = static_cast<int32_t>(random() % static_cast<uint64_t>(model_.spec().vocab));
    std::vector<double> runs;
    for (int64_t r = -1; r < options_.repetitions; ++r) {  // the first warms up
      const double tok_s = decode_tok_s(plan, ids);
      if (r >= 0) runs.push_back(tok_s);
      progress_.step(0);
    }
    PlanFigures& figures = *plan.figures;
    figures.tok_s = median(runs);
    figures.tok_s_stddev = standard_deviation(runs);
    const double both[] = {*figures.tok_s, *figures.tok_s_stddev};
    keep_numbers(journal_, speed_name(figures.plan), both);
    progress_.step();
  }

  TextFigures finish(const Measured& plan) const {
    std::vector<WindowScore> scores;
    for (const auto& score : plan.scores) scores.push_back(*score);
    const PlanScore sum = plan_score(scores);
    plan.figures->kl = {sum.kl.mean, sum.kl.stderr_of_mean};
    plan.figures->ppl = std::exp(sum.ce_student);
    TextFigures text;
    text.ppl = std::exp(sum.ce_teacher);
    for (const WindowScore& score : scores) text.tokens += score.positions;
    return text;
  }

  const Model& model_;
  const Windows& windows_;
  const UnitInputs& inputs_;
  const MeterOptions& options_;
  Progress& progress_;
  Journal& journal_;
  StudentRunner runner_;
  std::map<Key, std::shared_ptr<const PackedWeight>> packed_;
};

}  // namespace

TextFigures measure_plans(const Model& model, const Windows& windows, const UnitInputs& inputs,
                          const MeterOptions& options, Progress& progress, Journal& journal,
                          std::vector<PlanFigures>& plans) {
  return Meter(model, windows, inputs, options, progress, journal).run(plans);
}

}  // namespace klens
