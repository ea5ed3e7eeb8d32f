#pragma once
#include <string>
#include <utility>
#include <vector>

namespace klens::apps {

struct ChartSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  // ascending in x; y is not negative
};

struct Chart {
  std::string title, x_label, y_label;
  // Ticks are the points' own x, doubling from one to the next; else round numbers from 0.
  bool doubling_x = true;
  std::vector<ChartSeries> series;
};

// Charts side by side in one SVG that needs nothing else, on a light or a dark ground as the reader
// has it. Series of the same place have the same colour; the legend names those of the first chart.
std::string svg_of(const std::vector<Chart>& charts);

// A text in an element or a quoted attribute of XML or HTML: what files say is never markup.
std::string escaped(const std::string& text);

// The least of 1, 2, 2.5 or 5 times a power of ten that divides `most` into at most `ticks` steps.
double tick_step(double most, int ticks);
// "0", "250", "1.5", "4k" for 4096 where `binary`, "20k" for 20000 else.
std::string tick_label(double value, bool binary);

}  // namespace klens::apps
