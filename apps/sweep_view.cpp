#include "apps/sweep_view.h"

#include <algorithm>

#include "apps/cli/common.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr const char* kLine = "  %-14s %6s %10s %8s %8s %9s %9s %7s";

std::string about_method(const std::string& name) {
  for (const MethodRow& row : plan_methods())
    if (row.name == name) return "  " + row.about + "\n";
  return "";
}

std::string point_line(const ordered_json& point) {
  const std::string& kl = metrics().front().name;
  const auto number = [&](const std::string& key, const char* format) {
    return number_or_dash(point, key.c_str(), format);
  };
  return formatted(kLine, point.value("budget", "").c_str(), number("bpw", "%.3f").c_str(),
                   human_bytes(point.value("bytes", 0.0)).c_str(), number(kl, "%.6f").c_str(),
                   number(kl + "_stderr", "%.6f").c_str(),
                   number("predicted_" + kl, "%.6f").c_str(), number("ppl", "%.3f").c_str(),
                   number("tok_s", "%.1f").c_str()) +
         "\n";
}

// Budgets without a plan, each reason once.
std::string refusals(const ordered_json& points) {
  std::vector<std::pair<std::string, std::string>> reasons;  // a reason, its budgets
  for (const ordered_json& point : points) {
    const std::string why = point.value("refused", ""), budget = point.value("budget", "");
    if (why.empty()) continue;
    const auto known = std::find_if(reasons.begin(), reasons.end(),
                                    [&](const auto& reason) { return reason.first == why; });
    if (known == reasons.end()) {
      reasons.emplace_back(why, budget);
    } else {
      known->second += ", " + budget;
    }
  }
  std::string out;
  for (const auto& [why, budgets] : reasons) out += "  no plan for " + budgets + ": " + why + "\n";
  return out;
}

}  // namespace

std::string sweep_table(const ordered_json& sweep, const Style& style) {
  std::string out;
  for (const ordered_json& method : sweep.at("methods")) {
    const std::string name = method.get<std::string>();
    ordered_json own = ordered_json::array();
    std::string lines;
    for (const ordered_json& point : sweep.at("points")) {
      if (point.value("method", "") != name) continue;
      own.push_back(point);
      if (!point.contains("refused")) lines += point_line(point);
    }
    out += (out.empty() ? "" : "\n") + style.bold(name) + "\n" + about_method(name);
    if (!lines.empty())
      out += style.faint(formatted(kLine, "budget", "bpw", "size", "KL", "+/-", "predicted", "ppl",
                                   "tok/s")) +
             "\n" + lines;
    out += refusals(own);
  }
  return out;
}

}  // namespace klens::apps
