#include "apps/report/chart.h"

#include <algorithm>
#include <cmath>

#include "apps/cli/output.h"
#include "apps/report/html.h"
#include "apps/svg_chart.h"

namespace klens::apps {
namespace {

constexpr double kLeft = 68, kRight = 14, kTop = 12, kBottom = 46;

struct Tick {
  double value;
  bool named;
};

class Axis {
 public:
  Axis(std::vector<double> values, bool logarithmic, double most_ticks)
      : logarithmic_(logarithmic) {
    if (logarithmic) std::erase_if(values, [](double v) { return !(v > 0); });
    if (values.empty()) values.push_back(1);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    if (logarithmic_) {
      spread_decades(std::max(*low, *high * kLeastShown), *high);
    } else {
      spread_evenly(*low, *high, most_ticks);
    }
  }

  // From 0 to 1; what a logarithm cannot show is at 0.
  double at(double value) const {
    if (!logarithmic_) return (value - low_) / (high_ - low_);
    return value > 0 ? std::clamp(std::log(value / low_) / std::log(high_ / low_), 0.0, 1.0) : 0;
  }
  const std::vector<Tick>& ticks() const { return ticks_; }
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  // To the next of 1, 2 and 5 times a power of ten; all of these have names where they are few.
  void spread_decades(double low, double high) {
    const auto add = [&](double value, double power) {
      ticks_.push_back({value * power, value == 1 || high / low < 50});
    };
    low_ = high_ = 0;
    for (int exponent = static_cast<int>(std::floor(std::log10(low)));
         high_ < high && exponent < 300; ++exponent)
      for (const double step : {1.0, 2.0, 5.0}) {
        const double power = std::pow(10, exponent), next = step * power;
        if (high_ >= high) break;
        if (next * (step == 2 ? 2.5 : 2) * (1 - 1e-9) <= low) continue;
        if (low_ == 0) low_ = next;
        add(step, power);
        high_ = next;
      }
    if (!(high_ > low_)) high_ = low_ * 2;
  }

  void spread_evenly(double low, double high, double most_ticks) {
    if (!(high > low)) {
      high = low * 1.1 + 1;
      low = low * 0.9;
    }
    const double step = tick_step(high - low, static_cast<int>(most_ticks));
    low_ = std::floor(low / step + 1e-9) * step;
    for (int i = 0; high_ < high - step * 1e-6 || i == 0; ++i) {
      high_ = low_ + i * step;
      ticks_.push_back({high_, true});
    }
  }

  bool logarithmic_;
  double low_ = 0, high_ = 0;
  std::vector<Tick> ticks_;
};

// A shape of its own for each place, about 8 wide.
std::string marker(size_t place, double x, double y) {
  if (place == kPeerPlace)
    return formatted("<path class=\"ring\" d=\"M%.1f %.1fl-4 -4m8 0l-8 8m8 0l-4 -4\"/>", x, y);
  const char* path = "";
  switch (place % kPeerPlace) {
    case 0:
      return formatted("<circle class=\"s0 dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.2\"/>", x, y);
    case 1:
      path = "m-3.6 -3.6h7.2v7.2h-7.2z";  // a square
      break;
    case 2:
      path = "m0 -4.8l4.6 8.2h-9.2z";  // a triangle
      break;
    case 3:
      path = "m0 -5l5 5l-5 5l-5 -5z";  // on its point
      break;
    case 4:
      path = "m0 4.8l4.6 -8.2h-9.2z";  // a triangle, head down
      break;
    case 5:
      path = "m-1.4 -4.6h2.8v3.2h3.2v2.8h-3.2v3.2h-2.8v-3.2h-3.2v-2.8h3.2z";  // a cross
      break;
    case 6:
      path = "m-4.4 -2.6h8.8v5.2h-8.8z";  // a bar
      break;
    default:
      path = "m0 -5l1.5 3.4l3.7 .4l-2.8 2.4l.8 3.6l-3.2 -1.9l-3.2 1.9l.8 -3.6l-2.8 -2.4l3.7 -.4z";
  }
  return formatted("<path class=\"s%zu dot\" d=\"M%.1f %.1f%s\"/>", place % kPeerPlace, x, y, path);
}

class Drawing {
 public:
  Drawing(const LogChart& chart, double width, double height)
      : chart_(chart),
        width_(width - kLeft - kRight),
        height_(height - kTop - kBottom),
        x_(values(chart, true), chart.log_x, std::max(4.0, width / 110)),
        y_(values(chart, false), true, 0) {}

  std::string shapes() const {
    std::string out = grid();
    if (chart_.diagonal) out += diagonal();
    // The first series is what the page is about: it lies on top.
    for (size_t s = chart_.series.size(); s-- > 0;) out += drawn(chart_.series[s]);
    return out;
  }

 private:
  static std::vector<double> values(const LogChart& chart, bool x) {
    std::vector<double> all;
    for (const MarkedSeries& series : chart.series)
      for (const MarkedPoint& point : series.points) {
        all.push_back(x ? point.x : point.y);
        if (chart.diagonal) all.push_back(x ? point.y : point.x);
      }
    return all;
  }

  double px(double x) const { return kLeft + x_.at(x) * width_; }
  double py(double y) const { return kTop + height_ - y_.at(y) * height_; }

  static std::string line(double x1, double y1, double x2, double y2, const char* style) {
    return formatted("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                     style, x1, y1, x2, y2);
  }

  std::string grid() const {
    std::string out;
    const double bottom = kTop + height_, right = kLeft + width_;
    double last = -1e9;
    for (const Tick& tick : y_.ticks()) {
      const double at = py(tick.value);
      out += line(kLeft, at, right, at, tick.named ? "grid" : "grid faint");
      if (tick.named) out += label(kLeft - 7, at + 4, "end", brief_number(tick.value));
    }
    for (const Tick& tick : x_.ticks()) {
      const double at = px(tick.value);
      out += line(at, kTop, at, bottom, tick.named ? "grid" : "grid faint");
      if (!tick.named || at - last < 44) continue;
      out += label(at, bottom + 17, "middle", brief_number(tick.value));
      last = at;
    }
    out += line(kLeft, bottom, right, bottom, "axis");
    out += label(kLeft + width_ / 2, bottom + 37, "middle", chart_.x_label, "class=\"axis-name\"");
    out += label(
        13, kTop + height_ / 2, "middle", chart_.y_label,
        formatted("class=\"axis-name\" transform=\"rotate(-90 11 %.1f)\"", kTop + height_ / 2));
    return out;
  }

  std::string diagonal() const {
    const double low = std::max(x_.low(), y_.low()), high = std::min(x_.high(), y_.high());
    return line(px(low), py(low), px(high), py(high), "equal");
  }

  std::string drawn(const MarkedSeries& series) const {
    std::string path, marks;
    for (const MarkedPoint& point : series.points) {
      const double x = px(point.x), y = py(point.y);
      path += formatted("%s%.1f %.1f", path.empty() ? "M" : "L", x, y);
      marks +=
          "<g><title>" + escaped(point.about) + "</title>" + marker(series.place, x, y) + "</g>\n";
      if (point.name.empty()) continue;
      const bool left = x > kLeft + width_ * 0.75;
      marks += label(x + (left ? -8 : 8), y - 6, left ? "end" : "start", point.name,
                     "class=\"small halo\"");
    }
    if (!series.line) return marks;
    return formatted("<path class=\"line s%zu\" d=\"", series.place % kPeerPlace) + path +
           "\"/>\n" + marks;
  }

  const LogChart& chart_;
  double width_, height_;
  Axis x_, y_;
};

}  // namespace

std::string log_chart(const std::string& id, const LogChart& chart, double width, double height,
                      const char* style) {
  const Drawing drawing(chart, width, height);
  return picture({id, chart.title, chart.about, width, height, drawing.shapes()}, style);
}

std::string legend(const std::vector<MarkedSeries>& series) {
  std::string out = "<ul class=\"legend\">\n";
  for (const MarkedSeries& s : series) {
    out += "<li><svg viewBox=\"0 0 34 14\" width=\"34\" height=\"14\" aria-hidden=\"true\">";
    if (s.line)
      out += formatted("<path class=\"line s%zu\" d=\"M1 7L33 7\"/>", s.place % kPeerPlace);
    out += marker(s.place, 17, 7) + "</svg> " + escaped(s.name) + "</li>\n";
  }
  return out + "</ul>\n";
}

}  // namespace klens::apps
