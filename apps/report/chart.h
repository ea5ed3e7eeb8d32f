#pragma once
#include <string>
#include <vector>

namespace klens::apps {

struct MarkedPoint {
  double x = 0, y = 0;
  std::string about;  // shown where a pointer rests on it
  std::string name;   // written beside it; may be empty
};

// Series are told apart by shape, dashes and colour: those of `place`.
struct MarkedSeries {
  std::string name;
  size_t place = 0;
  bool line = true;
  std::vector<MarkedPoint> points;  // ascending in x
};

// What is this far below the largest value stands at the foot of a logarithmic axis, as 0 does.
inline constexpr double kLeastShown = 1e-5;

// The vertical axis is logarithmic.
struct LogChart {
  std::string title, about, x_label, y_label;
  bool log_x = false;
  bool diagonal = false;  // a line where both are equal
  std::vector<MarkedSeries> series;
};

// One SVG of that size; text has the size of the page's. style: of the SVG.
std::string log_chart(const std::string& id, const LogChart& chart, double width, double height,
                      const char* style = "");
// What each series looks like.
std::string legend(const std::vector<MarkedSeries>& series);

inline constexpr size_t kPeerPlace = 8;  // a place for what is not ours

}  // namespace klens::apps
