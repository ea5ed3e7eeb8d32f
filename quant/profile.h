#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/choice.h"
#include "quant/metrics.h"

namespace klens {

// What one (unit, choice) candidate costs and loses. Divergences are nats per token.
struct Candidate {
  Choice choice;
  int64_t bytes = 0;                    // as the model file stores it
  std::optional<double> kl, kl_stderr;  // mean and standard error over windows
  std::vector<double> kl_windows;   // mean KL of each window, for paired comparisons; may be empty
  std::optional<double> decode_us;  // that a decoded token spends on it, on one machine
  bool predicted = false;           // the KL: not measured, but found from others of the unit
  MetricValues others;              // all metrics of candidates but kl

  std::optional<double>& value(const Metric& metric) {
    return &metric == &kKl ? kl : others[metric];
  }
  const std::optional<double>& value(const Metric& metric) const {
    return &metric == &kKl ? kl : others[metric];
  }
};

struct Unit {
  std::string name;  // a UnitName's text: checkpoint name without ".weight", e.g.
                     // backbone.layers.0.mixer.in_proj, and its rows where these are not all
  std::string kind;  // in_proj, x_proj, dt_proj, out_proj, embedding, head
  int64_t block =
      -1;  // index of the block it belongs to; -1: before the first (embedding); blocks: head
  int64_t rows = 0, cols = 0;
  MetricValues weights;               // the metrics of weights alone
  std::vector<Candidate> candidates;  // one of kBaseFormat always among them
};

// The contents of profile.json (schema version 1).
struct Profile {
  std::string model_name, architecture, checkpoint_xxh3;
  int64_t parameters = 0;
  std::string calibration_source, activations;  // "teacher" or a file's name; "int8" or "f32"
  std::string suffix;  // what units were measured in; "": the checkpoint's own precision
  int64_t tokens = 0, windows = 0, window = 0;
  uint64_t seed = 0;
  int64_t fixed_bytes = 0;  // tensor bytes that no plan can change
  int64_t header_bytes =
      0;  // upper bound of the file's header, for a budget on the whole file; 0: unknown
  // Where candidates were timed: what a decoded token spends beside the units, and on what machine.
  std::optional<double> decode_rest_us;
  std::string timed_on;
  std::vector<Unit> units;
};

}  // namespace klens
