#include "apps/report/maps.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/cli/common.h"
#include "apps/cli/fields.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"
#include "apps/plan_view.h"
#include "apps/report/html.h"
#include "apps/report/layer_map.h"
#include "apps/svg_chart.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr int kBands = 7;

// A unit with what it is ranked by.
struct RankedUnit {
  const ordered_json* unit;
  const ordered_json* candidate;  // null: none was measured
};

std::vector<RankedUnit> ranked_units(const ReportInputs& inputs) {
  std::vector<RankedUnit> units;
  const ordered_json& places = inputs.agreement.at("candidates");
  for (const ordered_json& unit : inputs.profile->json.at("units")) {
    const ordered_json& place = places.at(units.size());
    units.push_back(
        {&unit, place.is_null() ? nullptr : &unit.at("candidates").at(place.get<size_t>())});
  }
  return units;
}

std::optional<double> value_of(const RankedUnit& unit, const MetricRow& metric) {
  if (metric.of_unit) return number_at(*unit.unit, metric.name);
  return unit.candidate == nullptr ? std::nullopt : number_at(*unit.candidate, metric.name);
}

std::string unit_name(const RankedUnit& unit) { return text_at(*unit.unit, "name"); }

// The metrics of a table of names that the profile has, in its order.
std::vector<MetricRow> metrics_of(const ReportInputs& inputs) {
  std::vector<MetricRow> rows;
  for (const ordered_json& name : inputs.agreement.at("metrics"))
    for (const MetricRow& row : metrics())
      if (row.name == name) rows.push_back(row);
  return rows;
}

// Which of the bands, from the most harmless, a value falls into. Logarithmic where values are
// spread over more than one power of ten.
class Scale {
 public:
  Scale(const std::vector<double>& values, bool more_is_worse) : more_is_worse_(more_is_worse) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    low_ = *low;
    high_ = *high;
    double positive = high_;
    for (const double v : values)
      if (v > 0) positive = std::min(positive, v);
    logarithmic_ = low_ >= 0 && high_ > 10 * positive;
    // What is four powers of ten below the worst is as good as nothing.
    if (logarithmic_) low_ = std::max(positive, high_ * 1e-4);
  }

  int band(double value) const {
    double at = 0.5;
    if (high_ > low_)
      at = logarithmic_ ? std::log(std::max(value, low_) / low_) / std::log(high_ / low_)
                        : (value - low_) / (high_ - low_);
    if (!more_is_worse_) at = 1 - at;
    return std::clamp(static_cast<int>(at * kBands), 0, kBands - 1);
  }

  std::string legend() const {
    const std::string low = (logarithmic_ ? "≤ " : "") + brief_number(low_);
    std::string out = "<p class=\"scale\"><span>" +
                      escaped(more_is_worse_ ? low : brief_number(high_)) + "</span>";
    for (int band = 0; band < kBands; ++band) out += formatted("<i class=\"b%d\"></i>", band);
    return out + "<span>" + escaped(more_is_worse_ ? brief_number(high_) : low) +
           (logarithmic_ ? " (log)" : "") + "</span></p>\n";
  }

 private:
  bool more_is_worse_, logarithmic_;
  double low_, high_;
};

// The cell of each unit's place; of several in one place that with the worst value.
std::string heat_map(const std::vector<RankedUnit>& units, const MetricRow& metric, size_t index) {
  std::vector<double> values;
  for (const RankedUnit& unit : units)
    if (const auto value = value_of(unit, metric)) values.push_back(*value);
  if (values.empty()) return "";
  const Scale scale(values, metric.better != "higher");
  std::map<std::pair<int64_t, std::string>, std::pair<size_t, int>> places;  // cell, its band
  std::vector<LayerCell> cells;
  for (const RankedUnit& unit : units) {
    const auto value = value_of(unit, metric);
    const int band = value ? scale.band(*value) : -1;
    LayerCell cell{text_at(*unit.unit, "kind"),
                   layer_of(*unit.unit),
                   value ? formatted("b%d", band) : "none",
                   "",
                   "",
                   unit_name(unit) + ": " + (value ? brief_number(*value) : "not measured")};
    if (unit.candidate != nullptr && !metric.of_unit)
      cell.about += " (" + format_at(*unit.candidate) + ")";
    const auto [at, fresh] =
        places.try_emplace({cell.layer, cell.kind}, std::pair(cells.size(), band));
    if (fresh) {
      cells.push_back(std::move(cell));
    } else if (band > at->second.second) {
      cells[at->second.first] = std::move(cell);
      at->second.second = band;
    }
  }
  const std::string id = "heat-" + std::to_string(index);
  return "<div><h3>" + escaped(metric.name) + "</h3>" + paragraph(metric.about, "soft") +
         scale.legend() +
         layer_map(id, metric.name + " by layer and kind of matrix",
                   "Darker is more sensitive on a light ground, brighter on a dark one. The same "
                   "numbers are in the table of all units.",
                   cells) +
         "</div>\n";
}

// As "names without model.layers." would be: what all have in front tells nothing.
std::vector<size_t> most_sensitive(const std::vector<RankedUnit>& units, const MetricRow& metric) {
  std::vector<size_t> order;
  for (size_t u = 0; u < units.size(); ++u)
    if (value_of(units[u], metric)) order.push_back(u);
  const double sign = metric.better == "higher" ? -1 : 1;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return sign * *value_of(units[a], metric) > sign * *value_of(units[b], metric);
  });
  return order;
}

std::string worst_table(const std::vector<RankedUnit>& units, const MetricRow& metric) {
  constexpr size_t kMost = 10;
  std::vector<size_t> order = most_sensitive(units, metric);
  double all = 0, sum = 0;
  for (const size_t u : order) all += *value_of(units[u], metric);
  order.resize(std::min(order.size(), kMost));
  Table t{"The matrices that lose most alone, by " + metric.name,
          {"matrix", "format", metric.name, "share of all"},
          {},
          {false, false, true, true}};
  for (const size_t u : order) {
    const double value = *value_of(units[u], metric);
    sum += value;
    t.rows.push_back({unit_name(units[u]),
                      units[u].candidate == nullptr ? "" : format_at(*units[u].candidate),
                      brief_number(value), all > 0 ? formatted("%.1f %%", 100 * value / all) : ""});
  }
  if (!(all > 0)) return "";
  return paragraph(formatted("%zu of %zu matrices make %.0f %% of what all lose when each is "
                             "quantised alone.",
                             order.size(), units.size(), 100 * sum / all)) +
         table(t);
}

std::string all_units(const std::vector<RankedUnit>& units, const std::vector<MetricRow>& rows) {
  Table t{"All units in the format that they are ranked by",
          {"matrix", "layer", "kind", "rows", "columns", "format"},
          {},
          {false, true, false, true, true, false}};
  for (const MetricRow& row : rows) {
    t.head.push_back(row.name);
    t.numbers.push_back(true);
  }
  for (const RankedUnit& unit : units) {
    const int64_t layer = layer_of(*unit.unit);
    t.rows.push_back({unit_name(unit), layer < 0 ? "" : std::to_string(layer),
                      text_at(*unit.unit, "kind"),
                      std::to_string(integer_at(*unit.unit, "rows", 0)),
                      std::to_string(integer_at(*unit.unit, "cols", 0)),
                      unit.candidate == nullptr ? "" : format_at(*unit.candidate)});
    for (const MetricRow& row : rows) {
      const auto value = value_of(unit, row);
      t.rows.back().push_back(value ? brief_number(*value) : "");
    }
  }
  return folded("All numbers", table(t));
}

// The colour of a terminal's 256, those above the first 16.
std::string hex_of(int colour) {
  if (colour >= 232)
    return formatted("#%02x%02x%02x", 8 + (colour - 232) * 10, 8 + (colour - 232) * 10,
                     8 + (colour - 232) * 10);
  const int cube = std::max(colour - 16, 0);
  const auto part = [](int level) { return level == 0 ? 0 : 55 + 40 * level; };
  return formatted("#%02x%02x%02x", part(cube / 36), part(cube / 6 % 6), part(cube % 6));
}

// Formats of a plan, as its rows name them, from the most precise; each has a letter.
std::vector<std::string> formats_of(const std::vector<UnitRow>& rows) {
  std::vector<std::string> names;
  for (const UnitRow& row : rows)
    if (std::find(names.begin(), names.end(), row.format) == names.end())
      names.push_back(row.format);
  const auto place = [](const std::string& name) {
    const std::string format = name.substr(0, name.find('@'));
    const auto row = std::find_if(formats().begin(), formats().end(),
                                  [&](const FormatRow& r) { return r.name == format; });
    return std::pair(row - formats().begin(), name.size() == format.size());
  };
  std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return std::pair(place(a), a) < std::pair(place(b), b);
  });
  return names;
}

std::string letter(size_t index) { return std::string(1, static_cast<char>('A' + index % 26)); }

std::string format_legend(const std::vector<UnitRow>& rows, const std::vector<std::string>& names) {
  std::string out = "<ul class=\"legend\">\n";
  for (size_t i = 0; i < names.size(); ++i) {
    const auto count = std::count_if(rows.begin(), rows.end(),
                                     [&](const UnitRow& row) { return row.format == names[i]; });
    out += "<li><span class=\"swatch\" style=\"background:" + hex_of(background_of(names[i])) +
           "\">" + letter(i) + "</span> " + escaped(names[i]) +
           formatted(" (%lld)", static_cast<long long>(count)) + "</li>\n";
  }
  return out + "</ul>\n";
}

std::string plan_map(const ReportFile& profile, const ReportFile& plan, size_t index) {
  const std::vector<UnitRow> rows = rows_of_plan(profile.json, plan.json);
  const std::vector<std::string> names = formats_of(rows);
  std::vector<LayerCell> cells;
  for (const UnitRow& row : rows) {
    const auto format = std::find(names.begin(), names.end(), row.format) - names.begin();
    LayerCell cell{row.kind,
                   row.layer,
                   "format",
                   hex_of(background_of(row.format)),
                   letter(static_cast<size_t>(format)),
                   row.name + ": " + row.format};
    const auto same = std::find_if(cells.begin(), cells.end(), [&](const LayerCell& c) {
      return c.layer == cell.layer && c.kind == cell.kind;
    });
    if (same == cells.end()) {
      cells.push_back(std::move(cell));
    } else if (same->letter != cell.letter) {  // parts of a fused matrix, or experts
      same->letter = "*";
      same->colour = "#d0d0d0";
      same->about += ", " + cell.about;
    }
  }
  Table t{"Formats of " + file_name(plan.path),
          {"matrix", "format", "bytes"},
          {},
          {false, false, true}};
  for (const UnitRow& row : rows)
    t.rows.push_back({row.name, row.format, std::to_string(row.bytes)});
  std::string about = text_at(plan.json, "method");
  if (const std::string budget = text_at(plan.json, "budget"); !budget.empty())
    about += ", " + budget;
  if (const auto bpw = number_at(plan.json, "bpw")) about += formatted(", %.3f bpw", *bpw);
  for (const char* what : {"predicted", "measured"})
    if (const auto kl = number_at(plan.json, std::string(what) + "_" + metrics().front().name))
      about += std::string(", ") + what + " KL " + brief_number(*kl);
  const std::string id = "plan-" + std::to_string(index);
  return "<div><h3>" + escaped(file_name(plan.path)) + "</h3>" + paragraph(about, "soft") +
         format_legend(rows, names) +
         layer_map(id, "Formats by layer and kind of matrix",
                   "Each cell has the letter of its format in the list above; a star stands for "
                   "several. The table has all of them.",
                   cells) +
         folded("Formats as a table", table(t)) + "</div>\n";
}

// Agreement from -1 to 1 in bands of two colours; numbers say it too.
std::string band_of_tau(double tau) {
  if (tau >= 0) return formatted("b%d", std::min(static_cast<int>(tau * kBands), kBands - 1));
  return formatted("n%d", std::min(static_cast<int>(-tau * 3), 2));
}

}  // namespace

std::string sensitivity_section(const ReportInputs& inputs) {
  const std::vector<RankedUnit> units = ranked_units(inputs);
  const std::vector<MetricRow> rows = metrics_of(inputs);
  std::string maps;
  for (size_t m = 0; m < rows.size(); ++m) maps += heat_map(units, rows[m], m);
  if (maps.empty()) return "";
  return section(
      "sensitivity", "Sensitivity",
      paragraph(
          "What the model loses when one matrix alone is quantised, in the smallest format "
          "that was measured of it. Rows are layers, columns kinds of matrices; where several "
          "share a place, the worst is shown. The colour runs from harmless to worst of each "
          "metric.") +
          worst_table(units, rows.front()) + "<div class=\"maps\">\n" + maps + "</div>\n" +
          all_units(units, rows));
}

std::string plan_section(const ReportInputs& inputs) {
  if (inputs.plans.empty()) return "";
  std::string maps;
  for (size_t p = 0; p < inputs.plans.size(); ++p)
    maps += plan_map(*inputs.profile, inputs.plans[p], p);
  return section("plans", inputs.plans.size() == 1 ? "Plan" : "Plans",
                 paragraph("The format of each matrix. A letter stands for each format, the most "
                           "precise first.") +
                     "<div class=\"maps\">\n" + maps + "</div>\n");
}

std::string agreement_section(const ReportInputs& inputs) {
  const ordered_json &names = inputs.agreement.at("metrics"), &tau = inputs.agreement.at("tau");
  if (names.size() < 2) return "";
  std::string out =
      "<table class=\"ranks\"><caption>Kendall's τ-b of each metric with each</caption>\n"
      "<thead><tr><th></th>";
  for (const ordered_json& name : names)
    out += "<th scope=\"col\"><span>" + escaped(name) + "</span></th>";
  out += "</tr></thead>\n<tbody>\n";
  for (size_t a = 0; a < names.size(); ++a) {
    out += "<tr><th scope=\"row\">" + escaped(names[a]) + "</th>";
    for (const ordered_json& value : tau.at(a))
      out += value.is_number() ? "<td class=\"" + band_of_tau(value) + "\">" +
                                     formatted("%.2f", value.get<double>()) + "</td>"
                               : std::string("<td>–</td>");
    out += "</tr>\n";
  }
  out += "</tbody></table>\n";
  return section(
      "agreement", "Agreement of metrics",
      paragraph(formatted("Whether two metrics put the %lld measured matrices into the same order "
                          "of sensitivity: 1 is the same order, 0 none, -1 the opposite. Signs are "
                          "turned such that worse is more, so a metric that could stand for "
                          "another has a number near 1.",
                          static_cast<long long>(integer_at(inputs.agreement, "units", 0)))) +
          out);
}

}  // namespace klens::apps
