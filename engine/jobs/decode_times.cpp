#include "engine/jobs/decode_times.h"

#include <chrono>
#include <cstring>
#include <map>
#include <tuple>

#include "base/statistics.h"
#include "engine/jobs/token_cost.h"
#include "engine/walk.h"

namespace klens {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;                       // medians of these
constexpr int64_t kStretch = 16;                 // tokens
constexpr size_t kMostReach = size_t{64} << 20;  // beyond any cache but a server's

double microseconds(const auto& run) {
  const Clock::time_point begin = Clock::now();
  run();
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double median_of_rounds(const auto& measure) {
  std::vector<double> rounds;
  measure();  // warms up
  for (int r = 0; r < kRounds; ++r) rounds.push_back(measure());
  return median(rounds);
}

double token_us(const Model& model) {
  return median_of_rounds([&] {
    double us = 0;
    model.device().run([&](Lane& lane) {
      const Lane::Frame frame(lane);
      Walk walk(model, kStretch);
      const Rows logits = lane.take(1, model.spec().vocab);
      const int32_t id = 0;
      us = microseconds([&] {
        for (int64_t t = 0; t < kStretch; ++t) {
          const Lane::Frame inner(lane);
          model.head(walk.feed({&id, 1}, lane), logits, model.weights(), lane);
        }
        lane.host(logits);
      });
    });
    return us / static_cast<double>(kStretch);
  });
}

// One token through each of the weights in turn, for each of them.
double linear_us(const Model& model, std::span<const Weight> weights) {
  const int64_t rows = weights.front().view.rows, cols = weights.front().view.cols;
  return median_of_rounds([&] {
    double us = 0;
    model.device().run([&](Lane& lane) {
      const Lane::Frame frame(lane);
      const Rows x = lane.take(1, cols), y = lane.take(1, rows);
      lane.write(std::vector<float>(static_cast<size_t>(cols), 0.5f).data(), x);
      us = microseconds([&] {
        for (const Weight& weight : weights) {
          const Lane::Frame inner(lane);
          LinearInput input(x);
          lane.linear({&weight, 1}, input, {}, y);
        }
        lane.host(y);
      });
    });
    return us / static_cast<double>(weights.size());
  });
}

// All units as they are loaded, as often as a token uses them.
double loaded_us(const Model& model, const std::vector<double>& uses) {
  std::map<std::tuple<int64_t, int64_t, Layout, int>, std::pair<std::vector<Weight>, double>> alike;
  for (size_t u = 0; u < uses.size(); ++u) {
    if (uses[u] == 0) continue;
    const Weight& weight = model.weights()[u];
    auto& [weights, used] =
        alike[{weight.view.rows, weight.view.cols, weight.view.layout, weight.activation_planes}];
    weights.push_back(weight);
    used += uses[u];
  }
  double us = 0;
  for (const auto& [shape, same] : alike) us += same.second * linear_us(model, same.first);
  return us;
}

// Of a unit's shape in a choice, as a token of a model with `in_all` weights finds it.
double choice_us(const Model& model, int64_t rows, int64_t cols, const Choice& choice,
                 int64_t in_all) {
  const Format& format = *find_format(choice.format);
  const size_t bytes = packed_bytes(format, rows, cols);
  const double whole =
      static_cast<double>(bytes) * static_cast<double>(in_all) / static_cast<double>(rows * cols);
  const size_t reach = std::min(kMostReach, static_cast<size_t>(whole));
  const size_t copies = std::max<size_t>(1, (reach + bytes - 1) / bytes);
  // Speed does not depend on the weights: zeros will do, and scales of one.
  const size_t weight = weight_bytes(format, rows, cols);
  std::vector<AlignedBuffer> memory;
  std::vector<Weight> weights;
  for (size_t i = 0; i < copies; ++i) {
    AlignedBuffer& copy = memory.emplace_back(bytes);
    std::memset(copy.data(), 0, weight);
    constexpr uint16_t kOne = 0x3c00;  // FP16
    for (size_t at = weight; at + sizeof kOne <= bytes; at += sizeof kOne)
      std::memcpy(copy.data() + at, &kOne, sizeof kOne);
    weights.push_back(
        make_weight(packed_view(format, rows, cols, copy.data(), copy.data() + weight), &format,
                    choice.activation_bits, model));
  }
  return linear_us(model, weights);
}

}  // namespace

double measure_decode_speed(const Model& model) { return 1e6 / token_us(model); }

void measure_decode_times(const Model& model, Profile& profile, Progress& progress) {
  const std::vector<double> uses = uses_of_units(model);
  using Shape = std::tuple<int64_t, int64_t, std::string, int>;
  std::map<Shape, double> times;
  const auto shape_of = [](const LinearSpec& unit, const Choice& choice) {
    return Shape{unit.rows, unit.cols, choice.format, choice.activation_bits};
  };
  for (size_t u = 0; u < profile.units.size(); ++u)
    if (uses[u] > 0)
      for (const Candidate& c : profile.units[u].candidates)
        times[shape_of(model.units()[u], c.choice)] = 0;
  progress.stage("time formats", static_cast<double>(times.size() + 2));
  int64_t in_all = 0;
  for (const LinearSpec& unit : model.units()) in_all += unit.rows * unit.cols;
  for (auto& [shape, us] : times) {
    const auto& [rows, cols, format, activation_bits] = shape;
    us = choice_us(model, rows, cols, {format, "", activation_bits}, in_all);
    progress.step();
  }
  for (size_t u = 0; u < profile.units.size(); ++u)
    for (Candidate& c : profile.units[u].candidates)
      c.decode_us = uses[u] > 0 ? uses[u] * times.at(shape_of(model.units()[u], c.choice)) : 0;
  const double token = token_us(model);
  progress.step();
  profile.decode_rest_us = std::max(0.0, token - loaded_us(model, uses));
  progress.step();
  profile.timed_on = model.device().level() + ", " + std::to_string(model.device().threads()) +
                     (model.device().threads() == 1 ? " thread" : " threads");
}

}  // namespace klens
