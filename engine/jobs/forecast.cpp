#include "engine/jobs/forecast.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/jobs/candidates.h"
#include "engine/jobs/refine.h"
#include "engine/jobs/sensitivity.h"
#include "engine/jobs/stages.h"
#include "engine/jobs/students.h"

namespace klens {
namespace {

constexpr int64_t kProbeTokens = 128;
// The tokenizer, texts, what is measured, and the pages of code that run.
constexpr int64_t kOwnBytes = int64_t{16} << 20;

// What work takes of a thread, in multiply-adds of a pass in the checkpoint's precision. Measured
// on SmolLM2 and wiki-mamba2; good to a half on other machines.
constexpr double kRoundWeight = 50;     // to round it to nearest
constexpr double kSearchWeight = 1600;  // to search its group's grid
constexpr double kErrorOfColumn = 1.5;  // gptq: a column whose errors a weight takes in
constexpr double kFactorStep = 6;       // a step of a Cholesky factor
constexpr double kSampledToken = 3;     // a weight of a token that is sampled, beside 15 others
constexpr double kRoundedSuffix = 0.4;  // a weight in INT8 with activations of 16 bits

double weights_of(const LinearSpec& unit) {
  return static_cast<double>(unit.rows) * static_cast<double>(unit.cols);
}

// One pass over a few tokens: how fast it is, what it keeps, and what inputs units share.
struct Probe {
  double multiply_adds = 0;     // a second, of all threads
  int64_t kept = 0;             // bytes a token, of a window that students start from
  std::vector<int64_t> inputs;  // columns of each group of units that have the same inputs
};

std::vector<int32_t> probe_ids(const Model& model, int64_t tokens) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(static_cast<int32_t>(i * 7919 % model.spec().vocab));
  return ids;
}

// Weights that a token is multiplied by, but for experts', of which it meets a few.
double weights_of_pass(const Model& model) {
  double weights = 0;
  for (const LinearSpec& unit : model.units())
    if (unit.matrix != model.spec().embedding || unit.matrix == model.spec().head)
      weights += weights_of(unit);
  return weights;
}

Probe probe(const Model& model, int64_t ctx, bool factors) {
  Probe found;
  const int64_t tokens = std::min(ctx, kProbeTokens);
  const std::vector<int32_t> ids = probe_ids(model, tokens);
  const UnitInputs none;
  StudentRunner runner(model, nullptr, none);
  runner.begin_window(std::span(ids).first(2));  // pages come from the disk now
  const auto begin = std::chrono::steady_clock::now();
  runner.begin_window(ids);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  // The head runs twice, for the teacher and for the student that it is compared with.
  const double head =
      static_cast<double>(model.spec().vocab) * static_cast<double>(model.spec().d_model);
  found.multiply_adds = (weights_of_pass(model) + head) * static_cast<double>(tokens) /
                        std::max(seconds.count(), 1e-6);
  found.kept = runner.kept_bytes() / tokens;
  if (factors) found.inputs = columns_of_inputs(model, ids);
  return found;
}

int64_t factor_bytes(const Probe& probe) {
  int64_t bytes = 0;
  for (const int64_t cols : probe.inputs) bytes += cols * (cols - 1);  // half of it, in BF16
  return bytes;
}

int64_t sum_bytes(int64_t cols) { return cols * cols * static_cast<int64_t>(sizeof(float)); }

int64_t largest_sum(const Probe& probe) {
  return probe.inputs.empty() ? 0 : sum_bytes(*std::ranges::max_element(probe.inputs));
}

int64_t rounded_bytes(const LinearSpec& unit) {
  return static_cast<int64_t>(packed_bytes(kFinestIntegers, unit.rows, unit.cols));
}

int64_t rounded_bytes(const Model& model) {
  int64_t bytes = 0;
  for (const LinearSpec& unit : model.units()) bytes += rounded_bytes(unit);
  return bytes;
}

// What sums of all inputs in one pass, or the measured formats of all matrices, would take.
int64_t useful_bytes(const Model& model, const ProfileOptions& options, const Probe& probe) {
  int64_t sums = 0;
  for (const int64_t cols : probe.inputs) sums += sum_bytes(cols);
  const auto formats =
      options.measured == 0 ? static_cast<int64_t>(kMostCandidates) : options.measured;
  return std::max(sums + largest_sum(probe), rounded_bytes(model) * formats);
}

int64_t largest_unit(const Model& model) {
  int64_t bytes = 0;
  for (const LinearSpec& unit : model.units()) bytes = std::max(bytes, rounded_bytes(unit));
  return bytes;
}

// A pass's rows in the widest block, and some of the head's.
int64_t scratch_bytes(const Model& model, int64_t ctx) {
  std::vector<int64_t> widths(static_cast<size_t>(model.blocks()) + 1);
  for (const LinearSpec& unit : model.units())
    if (unit.block >= 0 && unit.block < model.blocks())
      widths[static_cast<size_t>(unit.block)] += unit.rows + unit.cols;
  const int64_t widest = *std::ranges::max_element(widths) + 2 * model.spec().d_model;
  return static_cast<int64_t>(sizeof(float)) * (ctx * widest + 64 * model.spec().vocab);
}

// Windows that quantizers see.
int64_t seen_windows(const ProfileOptions& options) {
  const int64_t least = (kLeastSeenTokens - 1) / options.ctx + 1;
  return options.texts.empty() ? options.windows : std::max(options.windows, least);
}

// What a profile holds whatever it is allowed.
struct Needs {
  int64_t window, factors, reference, at_work;
  int64_t fixed() const { return kOwnBytes + window + factors + reference; }
};

Needs needs_of(const Model& model, const ProfileOptions& options, const Probe& probe,
               bool rounded) {
  const int64_t threads = model.options().threads;
  Needs needs{};
  needs.factors = factor_bytes(probe);
  // What is kept of a window, or, before, the streams of all while inputs are summed.
  const int64_t streams = needs.factors == 0
                              ? 0
                              : seen_windows(options) * options.ctx * model.spec().d_model *
                                    static_cast<int64_t>(sizeof(float));
  needs.window =
      std::max(options.ctx * probe.kept, streams) + threads * scratch_bytes(model, options.ctx);
  if (rounded) needs.reference = rounded_bytes(model);
  // Each thread has a matrix in hand, or turns sums into a factor, which takes as much again.
  needs.at_work = std::max(threads * largest_unit(model), (threads + 1) * largest_sum(probe));
  return needs;
}

// As options of sizes are written.
std::string megabytes(int64_t bytes) { return std::to_string((bytes >> 20) + 1) + "M"; }

void check_memory(const Model& model, const ProfileOptions& options, const Needs& needs) {
  const int64_t least = needs.fixed() + needs.at_work;
  if (options.memory == 0 || options.memory >= least) return;
  std::string cure;
  if (needs.factors > 0)
    cure += ", or a quantizer that needs no products of inputs (--quantizer " +
            std::string(kUnseenQuantizer.name) + ", " + megabytes(needs.factors) + " less)";
  if (needs.reference > 0)
    cure += ", or --suffix " + std::string(kExactSuffix.name) + " (" + megabytes(needs.reference) +
            " less)";
  throw Error(ErrorKind::kBadArgument,
              model.checkpoint().path + ": a profile needs " + megabytes(least) +
                  " beside the model's file, more than the " + megabytes(options.memory - 1) +
                  " that --memory allows; give it that" + cure + ", or shorter windows (-c)");
}

class Seconds {
 public:
  Seconds(const Model& model, const ProfileOptions& options, const Quantizer& quantizer,
          const Probe& probe)
      : model_(model), options_(options), quantizer_(quantizer), probe_(probe) {}

  double of(double multiply_adds) const { return multiply_adds / probe_.multiply_adds; }
  double pass(double windows) const {
    return of(windows * static_cast<double>(options_.ctx) * weights_of_pass(model_));
  }
  double windows() const {
    return static_cast<double>(options_.likely == 0 ? options_.windows
                                                    : std::min(options_.likely, options_.windows));
  }
  double seen() const { return static_cast<double>(seen_windows(options_)); }

  double sample() const {
    return of(kSampledToken * weights_of_pass(model_) * static_cast<double>(options_.ctx) *
              (static_cast<double>(options_.windows + options_.held_out) + seen()));
  }

  double all_weights() const {
    double weights = 0;
    for (const LinearSpec& unit : model_.units()) weights += weights_of(unit);
    return weights;
  }

  // Sums of products of columns, as many at a time as there is memory for, and their factors.
  double together(int64_t spare) const {
    double products = 0, factors = 0;
    int64_t bytes = 0;
    for (const int64_t cols : probe_.inputs) {
      const auto n = static_cast<double>(cols);
      products += n * n / 2;
      factors += n * n * n / 6;
      bytes += sum_bytes(cols);
    }
    const double passes = model_.can_stop_between()
                              ? 1
                              : std::ceil(static_cast<double>(bytes) / static_cast<double>(spare));
    return pass(passes * seen()) +
           of(seen() * static_cast<double>(options_.ctx) * products + kFactorStep * factors);
  }

  double quantise(double rows, double cols) const {
    if (quantizer_.sees == Quantizer::Sees::kFactor)
      return of(rows * cols * (kSearchWeight + kErrorOfColumn * cols / 2));
    return of(rows * cols * (&quantizer_ == &kQuantizers[0] ? kRoundWeight : kSearchWeight));
  }
  double quantise_all() const {
    double seconds = 0;
    for (const LinearSpec& unit : model_.units())
      seconds += quantise(static_cast<double>(unit.rows), static_cast<double>(unit.cols));
    return seconds;
  }

  double compare(size_t formats) const {
    double seconds = 0;
    for (const LinearSpec& unit : model_.units())
      seconds += quantise(static_cast<double>(std::min(unit.rows, kSampleRows)),
                          static_cast<double>(unit.cols));
    return seconds * static_cast<double>(formats);
  }

  double round() const { return of(all_weights() * kRoundWeight); }

  double modules() const {
    return of(all_weights() * kSearchWeight) + pass(2 * kSensitivityWindows);
  }

  // Each unit's coarsest format on all windows and its finest on every fourth, or all that it has.
  double profile(size_t formats, bool rounded) const {
    const auto all = static_cast<double>(std::min(formats, kMostCandidates));
    const double measured =
        options_.measured == 0 ? all : std::min(all, static_cast<double>(options_.measured));
    const double runs = options_.measured == 0 || measured < 2 ? measured : measured - 0.75;
    double cost = 0;
    const double mean = mean_weights(model_);
    for (size_t u = 0; u < model_.units().size(); ++u) {
      const size_t every = options_.likely == 0 ? 1 : sparing(weights_of(model_.units()[u]), mean);
      cost += suffix_cost(model_, u) / static_cast<double>(every);
    }
    return windows() * pass(2) + measured * quantise_all() +
           of(cost * runs * windows() * static_cast<double>(options_.ctx) *
              (rounded ? kRoundedSuffix : 1));
  }

  // About half of the units' choices were predicted.
  double check(bool rounded) const {
    double cost = 0;
    for (size_t u = 0; u < model_.units().size(); ++u) cost += suffix_cost(model_, u);
    const double windows = std::ceil(this->windows() / static_cast<double>(kFinestEvery));
    return pass(2 * windows) + 0.5 * quantise_all() +
           of(0.5 * cost * windows * static_cast<double>(options_.ctx) *
              (rounded ? kRoundedSuffix : 1));
  }

 private:
  const Model& model_;
  const ProfileOptions& options_;
  const Quantizer& quantizer_;
  const Probe& probe_;
};

}  // namespace

Expected expect_profile(const Model& model, const ProfileOptions& options,
                        const Quantizer& quantizer, size_t formats, bool rounded,
                        bool sensitivity) {
  const bool factors = quantizer.sees == Quantizer::Sees::kFactor;
  const Probe found = probe(model, options.ctx, factors);
  const Needs needs = needs_of(model, options, found, rounded);
  check_memory(model, options, needs);
  Expected expected;
  expected.spare =
      options.memory == 0 ? std::max(kUsualSpare, needs.at_work) : options.memory - needs.fixed();
  const Seconds seconds(model, options, quantizer, found);
  Forecast& forecast = expected.forecast;
  forecast.bytes =
      needs.fixed() +
      std::min(expected.spare, std::max(needs.at_work, useful_bytes(model, options, found)));
  const auto add = [&](const char* stage, double time) {
    forecast.stages.emplace_back(stage, time);
  };
  if (options.texts.empty()) add(stages::kSample, seconds.sample());
  if (factors) {
    add(stages::kAlike, seconds.pass(1));
    add(stages::kTogether, seconds.together(expected.spare));
  } else if (quantizer.sees == Quantizer::Sees::kSquares) {
    add(stages::kColumns, seconds.pass(seconds.seen()));
  }
  if (rounded) add(stages::kRound, seconds.round());
  add(stages::kCompare, seconds.compare(formats));
  if (sensitivity) add(stages::kModules, seconds.modules());
  add(stages::kProfile, seconds.profile(formats, rounded));
  if (options.plan && options.measured > 0) add(stages::kCheck, seconds.check(rounded));
  if (options.plan_windows > 0) {
    if (options.plan && options.measured > 0)
      add(stages::kMeasure,
          0.5 * seconds.quantise_all() + seconds.pass(2 * static_cast<double>(kPlanWindows)));
    add(stages::kMeasure,
        seconds.quantise_all() +
            seconds.pass(2 * std::max(seconds.windows(), static_cast<double>(kPlanWindows))));
    add(stages::kMeasure,
        seconds.quantise_all() + seconds.pass(2 * static_cast<double>(options.plan_windows)));
    add(stages::kWrite, seconds.quantise_all());
  }
  return expected;
}

}  // namespace klens
