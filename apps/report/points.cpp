#include "apps/report/points.h"

#include <algorithm>
#include <cmath>

#include "apps/cli/fields.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"
#include "apps/report/chart.h"
#include "apps/report/html.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr double kMebi = 1024.0 * 1024.0;

// Keys of a point.
struct Keys {
  std::string kl = metrics().front().name, error = kl + "_stderr", predicted = "predicted_" + kl;
};

struct Point {
  std::string method, budget;
  double bytes;
  std::optional<double> kl, predicted;
};

// What was measured, by method in the sweep's order, by bytes.
std::vector<std::vector<Point>> points_of(const ordered_json& sweep) {
  const Keys keys;
  std::vector<std::vector<Point>> all;
  for (const ordered_json& method : sweep.at("methods")) {
    std::vector<Point>& own = all.emplace_back();
    for (const ordered_json& p : sweep.at("points"))
      if (p.at("method") == method && !p.contains("refused"))
        own.push_back({method.get<std::string>(), text_at(p, "budget"), *number_at(p, "bytes"),
                       number_at(p, keys.kl), number_at(p, keys.predicted)});
    std::stable_sort(own.begin(), own.end(),
                     [](const Point& a, const Point& b) { return a.bytes < b.bytes; });
  }
  return all;
}

// Points that a logarithmic axis shows at its foot.
size_t count_least(const std::vector<std::vector<Point>>& all) {
  double largest = 0;
  for (const auto& own : all)
    for (const Point& p : own) largest = std::max(largest, p.kl.value_or(0));
  size_t least = 0;
  for (const auto& own : all)
    for (const Point& p : own) least += p.kl && *p.kl < largest * kLeastShown;
  return least;
}

std::vector<MarkedSeries> frontier_series(const ReportInputs& inputs,
                                          const std::vector<std::vector<Point>>& all) {
  std::vector<MarkedSeries> series;
  for (size_t m = 0; m < all.size(); ++m) {
    MarkedSeries own{all[m].empty() ? "" : all[m].front().method, m, true, {}};
    for (const Point& p : all[m])
      if (p.kl)
        own.points.push_back({p.bytes / kMebi, *p.kl,
                              own.name + ", " + p.budget + ": " + human_bytes(p.bytes) + ", KL " +
                                  brief_number(*p.kl),
                              ""});
    if (!own.points.empty()) series.push_back(std::move(own));
  }
  std::vector<std::string> engines;
  for (const Peer& peer : inputs.peers)
    if (std::find(engines.begin(), engines.end(), peer.engine) == engines.end())
      engines.push_back(peer.engine);
  for (const std::string& engine : engines) {
    MarkedSeries own{engine.empty() ? "other engines" : engine, kPeerPlace, false, {}};
    for (const Peer& peer : inputs.peers)
      if (peer.engine == engine)
        own.points.push_back({peer.bytes / kMebi, peer.kl,
                              (engine.empty() ? "" : engine + " ") + peer.name + ": " +
                                  human_bytes(peer.bytes) + ", KL " + brief_number(peer.kl),
                              peer.name});
    std::stable_sort(own.points.begin(), own.points.end(),
                     [](const MarkedPoint& a, const MarkedPoint& b) { return a.x < b.x; });
    series.push_back(std::move(own));
  }
  return series;
}

std::string frontier_table(const ReportInputs& inputs) {
  const Keys keys;
  Table t{"All points of the sweep",
          {"method", "budget", "bits per weight", "size", "KL", "±", "predicted KL", "perplexity",
           "tokens/s"},
          {},
          {false, false, true, true, true, true, true, true, true}};
  const auto number = [](const ordered_json& point, const std::string& key, const char* format) {
    const auto value = number_at(point, key);
    if (!value) return std::string();
    return *format == 0     ? brief_number(*value)
           : *format == 'b' ? human_bytes(*value)
           : *format == '1' ? formatted("%.1f", *value)
                            : formatted("%.3f", *value);
  };
  for (const ordered_json& p : inputs.sweep->json.at("points")) {
    if (p.contains("refused")) {
      t.rows.push_back(
          {text_at(p, "method"), text_at(p, "budget"), "", "", "no plan", "", "", "", ""});
      continue;
    }
    t.rows.push_back({text_at(p, "method"), text_at(p, "budget"), number(p, "bpw", "3"),
                      number(p, "bytes", "b"), number(p, keys.kl, ""), number(p, keys.error, ""),
                      number(p, keys.predicted, ""), number(p, "ppl", "3"),
                      number(p, "tok_s", "1")});
  }
  for (const Peer& peer : inputs.peers)
    t.rows.push_back({peer.engine.empty() ? "other engine" : peer.engine, peer.name, "",
                      human_bytes(peer.bytes), brief_number(peer.kl), "", "", "", ""});
  return folded("All points as a table", table(t));
}

}  // namespace

std::string frontier_section(const ReportInputs& inputs) {
  const ordered_json& sweep = inputs.sweep->json;
  const std::vector<std::vector<Point>> all = points_of(sweep);
  LogChart chart{"KL against the bytes of the file",
                 "Both axes: down and to the left is better. The table below has all numbers.",
                 "file size, MiB",
                 "KL, nats per token",
                 false,
                 false,
                 frontier_series(inputs, all)};
  if (chart.series.empty()) return "";
  const ordered_json& evaluation = sweep.at("evaluation");
  std::string intro =
      "What each planning method makes of each budget: KL divergence of the "
      "model's predictions on text that no plan was made from, against the bytes "
      "of the whole file. Lower and further left is better. Methods that make the same plan share "
      "a point.";
  if (const auto ppl = number_at(evaluation, "ppl"))
    intro += formatted(" The model itself has a perplexity of %.3f there.", *ppl);
  if (const size_t least = count_least(all); least > 0)
    intro += formatted(" %zu %s next to nothing, and %s at the foot of the axis.", least,
                       least == 1 ? "point loses" : "points lose", least == 1 ? "stands" : "stand");
  return section("frontier", "Frontier",
                 paragraph(intro) + legend(chart.series) +
                     log_chart("frontier-wide", chart, 1080, 520, "wide") +
                     log_chart("frontier-narrow", chart, 368, 400, "narrow") +
                     frontier_table(inputs));
}

std::string prediction_section(const ReportInputs& inputs) {
  LogChart chart{"Measured against predicted KL",
                 "Points on the dashed line lose what the profile promised; above it they lose "
                 "more.",
                 "predicted KL",
                 "measured KL",
                 true,
                 true,
                 {}};
  std::vector<double> ratios;
  const auto all = points_of(inputs.sweep->json);
  for (size_t m = 0; m < all.size(); ++m) {
    MarkedSeries own{all[m].empty() ? "" : all[m].front().method, m, false, {}};
    for (const Point& p : all[m]) {
      if (!p.kl || !p.predicted || !(*p.kl > 0) || !(*p.predicted > 0)) continue;
      ratios.push_back(*p.kl / *p.predicted);
      own.points.push_back({*p.predicted, *p.kl,
                            own.name + ", " + p.budget + ": predicted " +
                                brief_number(*p.predicted) + ", measured " + brief_number(*p.kl),
                            ""});
    }
    if (!own.points.empty()) chart.series.push_back(std::move(own));
  }
  if (ratios.empty()) return "";
  std::sort(ratios.begin(), ratios.end());
  const size_t n = ratios.size();
  const double median = (ratios[(n - 1) / 2] + ratios[n / 2]) / 2;
  const auto within = [&](double part) {
    return 100.0 *
           static_cast<double>(
               std::count_if(ratios.begin(), ratios.end(),
                             [&](double ratio) { return std::fabs(ratio - 1) <= part; })) /
           static_cast<double>(n);
  };
  const std::string text =
      paragraph(
          formatted("A plan's KL is predicted as the sum of what its matrices lose one at a "
                    "time. Of %zu points the measured KL is %.2f times the predicted one in "
                    "the median; %.0f\u00a0%% are within a tenth, %.0f\u00a0%% within a quarter.",
                    n, median, within(0.1), within(0.25))) +
      paragraph(
          "Predictions are of the windows that the profile was made from, measurements of "
          "others: texts differ, so that all points may lie on one side of the line.",
          "soft");
  return section("prediction", "Predicted and measured",
                 "<div class=\"beside\"><div>" + log_chart("prediction-chart", chart, 368, 340) +
                     "</div><div>" + text + legend(chart.series) + "</div></div>\n");
}

}  // namespace klens::apps
