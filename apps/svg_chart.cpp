#include "apps/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "apps/cli/output.h"

namespace klens::apps {
namespace {

constexpr double kChartWidth = 480, kChartHeight = 340;  // of one chart, labels included
constexpr double kChartLeft = 68, kChartRight = 20, kChartTop = 44, kChartBottom = 56,
                 kLegendLine = 20;
constexpr int kTicks = 6, kColours = 6;

constexpr const char* kStyle = R"(<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 14px; font-weight: 600; }
.ground { fill: #ffffff; }
.grid { stroke: #d8dee4; stroke-width: 1; }
.axis { stroke: #57606a; stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: #0969da; } .s1 { stroke: #bc4c00; } .s2 { stroke: #1a7f37; }
.s3 { stroke: #8250df; } .s4 { stroke: #9a6700; } .s5 { stroke: #bf3989; }
.dot.s0 { fill: #0969da; } .dot.s1 { fill: #bc4c00; } .dot.s2 { fill: #1a7f37; }
.dot.s3 { fill: #8250df; } .dot.s4 { fill: #9a6700; } .dot.s5 { fill: #bf3989; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.ground { fill: #0d1117; }
.grid { stroke: #30363d; }
.axis { stroke: #8b949e; }
.s0 { stroke: #58a6ff; } .s1 { stroke: #f0883e; } .s2 { stroke: #3fb950; }
.s3 { stroke: #bc8cff; } .s4 { stroke: #d29922; } .s5 { stroke: #f778ba; }
.dot.s0 { fill: #58a6ff; } .dot.s1 { fill: #f0883e; } .dot.s2 { fill: #3fb950; }
.dot.s3 { fill: #bc8cff; } .dot.s4 { fill: #d29922; } .dot.s5 { fill: #f778ba; }
}
</style>
)";

std::string svg_text(double x, double y, const char* anchor, const std::string& text,
                     const char* more = "") {
  return formatted("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more) +
         escaped(text) + "</text>\n";
}

std::string line_from(double x1, double y1, double x2, double y2, const char* style) {
  return formatted("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1,
                   x2, y2, style);
}

// Where a value lies between 0 and 1.
class ChartAxis {
 public:
  ChartAxis(const Chart& chart, bool x) : doubling_(x && chart.doubling_x) {
    std::set<double> values;
    for (const ChartSeries& series : chart.series)
      for (const auto& point : series.points) values.insert(x ? point.first : point.second);
    most_ = values.empty() || *values.rbegin() <= 0 ? 1 : *values.rbegin();
    if (doubling_ && !values.empty()) {
      least_ = *values.begin();
      ticks_.assign(values.begin(), values.end());
    } else {
      const double step = tick_step(most_, kTicks);
      most_ = std::ceil(most_ / step - 1e-9) * step;
      for (int i = 0; i * step <= most_ * (1 + 1e-9); ++i) ticks_.push_back(i * step);
    }
  }

  double at(double value) const {
    if (!doubling_) return value / most_;
    return most_ > least_ ? std::log(value / least_) / std::log(most_ / least_) : 0.5;
  }
  const std::vector<double>& ticks() const { return ticks_; }
  std::string label(double tick) const { return tick_label(tick, doubling_); }

 private:
  bool doubling_;
  double least_ = 0, most_ = 1;
  std::vector<double> ticks_;
};

std::string drawn(const Chart& chart, double left) {
  const ChartAxis x(chart, true), y(chart, false);
  const double width = kChartWidth - kChartLeft - kChartRight,
               height = kChartHeight - kChartTop - kChartBottom;
  const double begin = left + kChartLeft, bottom = kChartTop + height;
  std::string out = svg_text(begin, 26, "start", chart.title, " class=\"title\"");
  for (const double tick : y.ticks()) {
    const double at = bottom - y.at(tick) * height;
    out += line_from(begin, at, begin + width, at, tick == 0 ? "axis" : "grid");
    out += svg_text(begin - 8, at + 4, "end", y.label(tick));
  }
  for (const double tick : x.ticks()) {
    const double at = begin + x.at(tick) * width;
    out += line_from(at, bottom, at, bottom + 4, "axis");
    out += svg_text(at, bottom + 18, "middle", x.label(tick));
  }
  out += svg_text(begin + width / 2, bottom + 40, "middle", chart.x_label);
  const double middle = kChartTop + height / 2;
  out += svg_text(left + 16, middle, "middle", chart.y_label,
                  formatted(" transform=\"rotate(-90 %.1f %.1f)\"", left + 16, middle).c_str());
  for (size_t s = 0; s < chart.series.size(); ++s) {
    const int colour = static_cast<int>(s % kColours);
    std::string line, dots;
    for (const auto& [at_x, at_y] : chart.series[s].points) {
      const double px = begin + x.at(at_x) * width, py = bottom - y.at(at_y) * height;
      line += formatted("%s%.1f,%.1f", line.empty() ? "" : " ", px, py);
      dots += formatted("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" class=\"dot s%d\"><title>", px,
                        py, colour) +
              escaped(chart.series[s].name + ": " + formatted("%g: %.5g", at_x, at_y)) +
              "</title></circle>\n";
    }
    out += formatted("<polyline class=\"line s%d\" points=\"", colour) + line + "\"/>\n" + dots;
  }
  return out;
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if (static_cast<unsigned char>(c) >= 0x20) {  // XML has no control characters
      out += c;
    }
  }
  return out;
}

double tick_step(double most, int ticks) {
  const double power = std::pow(10, std::floor(std::log10(most / ticks)));
  for (const double step : {1.0, 2.0, 2.5, 5.0})
    if (most / (step * power) <= ticks) return step * power;
  return 10 * power;
}

std::string tick_label(double value, bool binary) {
  const double thousand = binary ? 1024 : 1000;
  if (value >= (binary ? thousand : 10 * thousand)) return formatted("%gk", value / thousand);
  return formatted("%g", value);
}

std::string svg_of(const std::vector<Chart>& charts) {
  const std::vector<ChartSeries> none;
  const std::vector<ChartSeries>& named = charts.empty() ? none : charts.front().series;
  const double width = kChartWidth * static_cast<double>(charts.size());
  const double height =
      kChartHeight + (named.empty() ? 0 : kLegendLine * static_cast<double>(named.size()) + 8);
  std::string out =
      formatted(
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
          "height=\"%.0f\" role=\"img\">\n",
          width, height, width, height) +
      kStyle + "<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n";
  for (size_t c = 0; c < charts.size(); ++c)
    out += drawn(charts[c], kChartWidth * static_cast<double>(c));
  for (size_t s = 0; s < named.size(); ++s) {
    const double y = kChartHeight + kLegendLine * static_cast<double>(s);
    out += formatted("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" class=\"dot s%d\"/>\n", kChartLeft, y,
                     static_cast<int>(s % kColours));
    out += svg_text(kChartLeft + 12, y + 4, "start", named[s].name);
  }
  return out + "</svg>\n";
}

}  // namespace klens::apps
