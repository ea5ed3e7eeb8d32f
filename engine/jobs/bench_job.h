#pragma once
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/jobs/progress.h"
#include "engine/model.h"

namespace klens {

struct BenchOptions {
  int64_t prompt = 512, generate = 128;  // tokens; 0: leave the test out
  int64_t depth = 0;                     // tokens in the session before either
  int64_t repetitions = 5;
  int64_t batch = 1;  // sequences that decode together; tokens of all of them are counted
};

// A kernel of a device, or a way of moving memory: as often as one run had it.
struct BenchKernel {
  std::string name;
  int64_t launches = 0;
  double ms = 0;     // all together
  double share = 0;  // of the run
};

struct BenchTest {
  std::string name;              // "pp512", "tg128", "tg128 x4 @ d1024"
  double tok_s = 0, stddev = 0;  // the median; of all sequences together
  std::vector<double> samples;
  // Of all threads' time, by step, of one more run.
  std::vector<std::pair<std::string, double>> shares;
  // Of that run, the longest first; none where the device tells no times of kernels.
  std::vector<BenchKernel> kernels;
};

// Prefill and decode speed against what the machine gives, measured in the same run.
struct BenchReport {
  std::string isa;
  int threads = 0;
  int64_t batch = 0, depth = 0;
  int64_t weight_bytes = 0;  // that a decoded token reads
  size_t state_bytes = 0;    // of a sequence, without keys and values
  double read_gb_s = 0, integer_gop_s = 0;
  std::optional<double> first_token_ms, prefill_gop_s;  // linear layers; a multiply-add counts two
  std::optional<double> token_ms, decode_gb_s;          // of a decoding step; weights
  std::vector<BenchTest> tests;
};

BenchReport bench(const std::shared_ptr<const Model>& model, const BenchOptions& options,
                  Progress& progress);

}  // namespace klens
