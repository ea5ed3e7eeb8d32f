#include "engine/jobs/bench_job.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/statistics.h"
#include "engine/cpu/step_clock.h"
#include "engine/jobs/token_cost.h"
#include "engine/session.h"

namespace klens {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPromptBatch = 512;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab));
  return ids;
}

struct Timing {
  std::vector<double> tok_s;
  double ms = 0;  // of the median run
  std::vector<std::pair<std::string, double>> shares;
  std::vector<BenchKernel> kernels;
};

// A clock that no device keeps beyond its life, whatever a run throws.
class OwnClock {
 public:
  explicit OwnClock(Device& device) : device_(device) { device.time_steps(&clock); }
  ~OwnClock() {
    try {
      stop();
    } catch (...) {  // a device that fails has been told of by what it was to do
    }
  }
  OwnClock(const OwnClock&) = delete;
  OwnClock& operator=(const OwnClock&) = delete;
  void stop() { device_.time_steps(nullptr); }

  StepClock clock;

 private:
  Device& device_;
};

// wall: nanoseconds of the run.
void add_kernels(const StepClock& clock, double wall, Timing& timing) {
  for (const auto& [name, time] : clock.kernels()) {
    const auto spent = static_cast<double>(time.nanoseconds);
    timing.kernels.push_back({name, time.launches, spent * 1e-6, spent / wall});
  }
  std::ranges::stable_sort(timing.kernels, std::ranges::greater(), &BenchKernel::ms);
}

// What of all threads' time, or a device's, a run spends on each step, and on each kernel. The rest
// is waiting, for each other or for a step's beginning, and what is too small to be timed.
template <class Run>
void add_shares(const Model& model, const Run& run, Timing& timing) {
  const Model::Front* front = model.front();
  std::optional<OwnClock> of_front;
  if (front != nullptr) of_front.emplace(*front->device);
  OwnClock own(model.device());
  const Clock::time_point begin = Clock::now();
  run();
  const double wall = seconds_since(begin) * 1e9;
  own.stop();
  double rest = 1;
  // While it computes, all threads wait.
  if (front != nullptr) {
    of_front->stop();
    add_kernels(of_front->clock, wall, timing);
    double share = 0;
    for (int step = 0; step < kSteps; ++step)
      share += static_cast<double>(of_front->clock.spent(step)) / wall;
    timing.shares.emplace_back(front->device->name(), share);
    rest -= share;
  }
  for (int step = 0; step < kSteps; ++step) {
    const double share =
        static_cast<double>(own.clock.spent(step)) / (wall * model.device().side_by_side());
    if (share > 0) timing.shares.emplace_back(kStepNames[step], share);
    rest -= share;
  }
  timing.shares.emplace_back("rest", std::max(0.0, rest));
  add_kernels(own.clock, wall, timing);
}

// Times what run() does with sessions that have fed options.depth tokens; it counts for `tokens`.
template <class Run>
Timing time_runs(std::vector<Session>& sessions, int64_t tokens, const BenchOptions& options,
                 Progress& progress, const Run& run) {
  const Model& model = sessions.front().model();
  Session before(sessions.front());
  if (options.depth > 0) before.eval(random_ids(options.depth, model.spec().vocab, 2), nullptr);
  Timing timing;
  std::vector<double> ms;
  for (int64_t r = -1; r < options.repetitions; ++r) {  // the first run warms up and does not count
    for (Session& session : sessions) session.become(before);
    const Clock::time_point begin = Clock::now();
    run();
    const double seconds = seconds_since(begin);
    progress.step();
    if (r < 0) continue;
    timing.tok_s.push_back(static_cast<double>(tokens) / seconds);
    ms.push_back(1000 * seconds);
  }
  timing.ms = median(ms);
  for (Session& session : sessions) session.become(before);
  add_shares(model, run, timing);
  return timing;
}

// Also the logits after the last token, which a prompt is for.
Timing time_prefill(std::vector<Session>& sessions, const BenchOptions& options,
                    Progress& progress) {
  const std::vector<int32_t> ids =
      random_ids(options.prompt, sessions.front().model().spec().vocab, 1);
  return time_runs(sessions, options.prompt, options, progress,
                   [&] { sessions.front().eval(ids, nullptr); });
}

// Every session is fed a token of its own in each step.
Timing time_decode(std::vector<Session>& sessions, const BenchOptions& options,
                   Progress& progress) {
  const int64_t batch = static_cast<int64_t>(sessions.size()), tokens = batch * options.generate;
  const std::vector<int32_t> ids = random_ids(tokens, sessions.front().model().spec().vocab, 1);
  std::vector<Feed> feeds(sessions.size());
  return time_runs(sessions, tokens, options, progress, [&] {
    for (int64_t step = 0; step < options.generate; ++step) {
      for (size_t s = 0; s < feeds.size(); ++s)
        feeds[s] = {&sessions[s], {&ids[static_cast<size_t>(step * batch) + s], 1}};
      eval_together(feeds);
    }
  });
}

}  // namespace

BenchReport bench(const std::shared_ptr<const Model>& model, const BenchOptions& options,
                  Progress& progress) {
  const int threads = model->options().threads;
  progress.stage("machine", 2);
  Device& device = model->device();
  const double integer_gop_s = device.integer_peak();
  progress.step();
  const double read_gb_s = device.read_bandwidth();
  progress.step();
  const TokenCost cost = token_cost(*model);
  BenchReport report;
  report.isa = model->level();
  report.threads = threads;
  report.batch = options.batch;
  report.depth = options.depth;
  report.weight_bytes = static_cast<int64_t>(cost.weight_bytes);
  report.state_bytes = static_cast<size_t>(model->states().bytes());
  report.read_gb_s = read_gb_s;
  report.integer_gop_s = integer_gop_s;
  const std::string depth = options.depth > 0 ? " @ d" + std::to_string(options.depth) : "";
  const auto add = [&](const std::string& name, const Timing& timing) {
    report.tests.push_back({.name = name + depth,
                            .tok_s = median(timing.tok_s),
                            .stddev = standard_deviation(timing.tok_s),
                            .samples = timing.tok_s,
                            .shares = timing.shares,
                            .kernels = timing.kernels});
  };
  progress.stage("bench", static_cast<double>((options.repetitions + 1) *
                                              ((options.prompt > 0) + (options.generate > 0))));
  if (options.prompt > 0) {
    std::vector<Session> one(1, Session(model, kPromptBatch));
    const Timing timing = time_prefill(one, options, progress);
    add("pp" + std::to_string(options.prompt), timing);
    report.first_token_ms = timing.ms;
    report.prefill_gop_s =
        2 * (static_cast<double>(options.prompt) * cost.multiply_adds + cost.head_multiply_adds) /
        (timing.ms * 1e6);
  }
  if (options.generate > 0) {
    std::vector<Session> sessions(static_cast<size_t>(options.batch), Session(model, kPromptBatch));
    const Timing timing = time_decode(sessions, options, progress);
    const std::string batch = options.batch > 1 ? " x" + std::to_string(options.batch) : "";
    add("tg" + std::to_string(options.generate) + batch, timing);
    const double step_ms = timing.ms / static_cast<double>(options.generate);
    report.token_ms = step_ms;
    report.decode_gb_s = cost.weight_bytes / (step_ms * 1e6);
    // What others leave of the memory changes meanwhile: measured before and after.
    report.read_gb_s = (read_gb_s + device.read_bandwidth()) / 2;
  }
  return report;
}

}  // namespace klens
