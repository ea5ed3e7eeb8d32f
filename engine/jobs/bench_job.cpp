#include "engine/jobs/bench_job.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "engine/session.h"
#include "kernels/cpu/features.h"

namespace klens {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  double mean = 0, squares = 0;
  for (const double v : values) mean += v / static_cast<double>(values.size());
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab));
  return ids;
}

// Best of several passes over a buffer far larger than any cache, with all of the model's threads,
// GB/s.
double read_bandwidth(const Model& model, Progress& progress) {
  constexpr size_t kWords = size_t{1} << 25;  // 256 MiB
  constexpr int kPasses = 4;
  const std::vector<uint64_t> buffer(kWords, 1);
  double best = 0;
  progress.stage("memory bandwidth", kPasses);
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<uint64_t> sink{0};
    const Clock::time_point begin = Clock::now();
    model.run([&](const Executor& executor) {
      executor.ranges(static_cast<int64_t>(kWords / 4096), 4096, [&](int64_t from, int64_t to) {
        uint64_t sums[8] = {};
        for (size_t i = static_cast<size_t>(from) * 4096; i < static_cast<size_t>(to) * 4096;
             i += 8)
          for (size_t j = 0; j < 8; ++j) sums[j] += buffer[i + j];
        uint64_t sum = 0;
        for (const uint64_t s : sums) sum += s;
        sink += sum;
      });
    });
    best = std::max(best, static_cast<double>(kWords) * 8 / seconds_since(begin) / 1e9);
    progress.step();
  }
  return best;
}

// Bytes of weights that one decoded token reads: all units but an embedding table of its own.
size_t bytes_per_token(const Model& model) {
  size_t bytes = 0;
  for (const LinearSpec& unit : model.units())
    if (unit.block >= 0) bytes += model.checkpoint().units.at(unit.name).bytes;
  for (const auto& [name, values] : model.checkpoint().small)
    bytes += values.size() * sizeof(float);
  return bytes;
}

struct Timing {
  std::vector<double> tok_s;
  double first_token_ms = 0;
};

Timing time_runs(Session& session, int64_t tokens, bool decode, const BenchOptions& options,
                 Progress& progress) {
  const int64_t vocab = session.model().spec().vocab;
  Timing timing;
  std::vector<double> first;
  const std::vector<int32_t> ids = random_ids(tokens, vocab, 1),
                             before = random_ids(options.depth, vocab, 2);
  for (int64_t r = -1; r < options.repetitions; ++r) {  // the first run warms up and does not count
    session.reset();
    if (options.depth > 0) session.eval(before, nullptr);
    const Clock::time_point begin = Clock::now();
    if (decode) {
      for (const int32_t& id : ids) session.eval({&id, 1}, nullptr);
    } else {
      session.eval(ids, nullptr);
    }
    const double seconds = seconds_since(begin);
    if (r >= 0) timing.tok_s.push_back(static_cast<double>(tokens) / seconds);
    if (r >= 0) first.push_back(1000 * seconds);
    progress.step();
  }
  timing.first_token_ms = median(first);
  return timing;
}

}  // namespace

nlohmann::ordered_json bench(const std::shared_ptr<const Model>& model, const BenchOptions& options,
                             Progress& progress) {
  Session session(model, 512);
  const double bandwidth = read_bandwidth(*model, progress);
  const size_t bytes = bytes_per_token(*model);
  nlohmann::ordered_json report = {{"isa", cpu::level_name()},
                                   {"threads", model->options().threads},
                                   {"weight_bytes", bytes},
                                   {"read_gb_s", bandwidth}};
  nlohmann::ordered_json tests = nlohmann::ordered_json::array();
  const std::string depth = options.depth > 0 ? " @ d" + std::to_string(options.depth) : "";
  const auto add = [&](const std::string& name, const Timing& timing) {
    tests.push_back({{"name", name + depth},
                     {"tok_s", median(timing.tok_s)},
                     {"stddev", deviation(timing.tok_s)},
                     {"samples", timing.tok_s}});
  };
  progress.stage("bench", static_cast<double>((options.repetitions + 1) *
                                              ((options.prompt > 0) + (options.generate > 0))));
  if (options.prompt > 0) {
    const Timing timing = time_runs(session, options.prompt, false, options, progress);
    add("pp" + std::to_string(options.prompt), timing);
    report["first_token_ms"] = timing.first_token_ms;
  }
  if (options.generate > 0) {
    const Timing timing = time_runs(session, options.generate, true, options, progress);
    add("tg" + std::to_string(options.generate), timing);
    report["token_ms"] = 1000 / median(timing.tok_s);
    report["decode_gb_s"] = static_cast<double>(bytes) * median(timing.tok_s) / 1e9;
  }
  report["tests"] = std::move(tests);
  return report;
}

}  // namespace klens
