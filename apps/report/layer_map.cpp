#include "apps/report/layer_map.h"

#include <algorithm>
#include <map>

#include "apps/cli/output.h"
#include "apps/report/html.h"
#include "apps/svg_chart.h"

namespace klens::apps {
namespace {

constexpr double kMostWidth = 340, kLabels = 30, kCellHeight = 14, kGap = 1, kLetter = 6.2;
constexpr double kWidestCell = 62;

bool outside_layers(const LayerCell& cell) {
  return cell.layer < 0 || cell.kind == "head" || cell.kind == "embedding";
}

class Map {
 public:
  explicit Map(const std::vector<LayerCell>& cells) : cells_(cells) {
    for (const LayerCell& cell : cells) {
      if (outside_layers(cell)) continue;
      if (std::find(kinds_.begin(), kinds_.end(), cell.kind) == kinds_.end())
        kinds_.push_back(cell.kind);
      rows_.emplace(cell.layer, 0.0);
    }
    size_t longest = 0;
    for (const std::string& kind : kinds_) longest = std::max(longest, kind.size());
    const double columns = static_cast<double>(std::max<size_t>(kinds_.size(), 1));
    cell_width_ = std::min(kWidestCell, (kMostWidth - kLabels) / columns);
    upright_ = static_cast<double>(longest) * kLetter > cell_width_ - 2;
    header_ = upright_ ? static_cast<double>(longest) * kLetter + 8 : 18;
    width_ = kLabels + columns * cell_width_;
  }

  std::string shapes() {
    double y = 0;
    std::string out = outside(true, y);
    if (!kinds_.empty()) out += header(y);
    for (auto& [layer, top] : rows_) {
      top = y;
      out += label(kLabels - 6, y + 10.5, "end", std::to_string(layer), "class=\"small\"");
      y += kCellHeight;
    }
    for (const LayerCell& cell : cells_)
      if (!outside_layers(cell))
        out += rectangle(cell, kLabels + column_of(cell.kind) * cell_width_, rows_.at(cell.layer),
                         cell_width_, cell.letter);
    if (!rows_.empty()) y += 3;
    out += outside(false, y);
    height_ = y;
    return out;
  }

  double width() const { return width_; }
  double height() const { return height_; }

 private:
  double column_of(const std::string& kind) const {
    return static_cast<double>(std::find(kinds_.begin(), kinds_.end(), kind) - kinds_.begin());
  }

  static std::string rectangle(const LayerCell& cell, double x, double y, double width,
                               const std::string& text) {
    std::string out = "<g><title>" + escaped(cell.about) + "</title>" +
                      formatted("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"", x, y,
                                width - kGap, kCellHeight - kGap) +
                      " class=\"" + cell.style + "\"" +
                      (cell.colour.empty() ? "" : " style=\"fill:" + cell.colour + "\"") + "/>";
    if (!text.empty())
      out += label(x + (width - kGap) / 2, y + 10.2, "middle", text,
                   "class=\"on " + cell.style + "\"");
    return out + "</g>\n";
  }

  std::string header(double& y) const {
    std::string out;
    y += header_;
    for (size_t c = 0; c < kinds_.size(); ++c) {
      const double x = kLabels + (static_cast<double>(c) + 0.5) * cell_width_;
      if (upright_) {
        out +=
            label(x + 3.5, y - 4, "start", kinds_[c],
                  formatted("class=\"small\" transform=\"rotate(-90 %.1f %.1f)\"", x + 3.5, y - 4));
      } else {
        out += label(x, y - 5, "middle", kinds_[c], "class=\"small\"");
      }
    }
    return out;
  }

  std::string outside(bool before, double& y) const {
    std::string out;
    for (const LayerCell& cell : cells_) {
      if (!outside_layers(cell) || (cell.layer < 0) != before) continue;
      const std::string text = cell.kind + (cell.letter.empty() ? "" : ": " + cell.letter);
      out += rectangle(cell, kLabels, y, width_ - kLabels, text);
      y += kCellHeight + 3;
    }
    return out;
  }

  const std::vector<LayerCell>& cells_;
  std::vector<std::string> kinds_;  // in the order in which they first appear
  std::map<int64_t, double> rows_;  // by layer: where it begins
  bool upright_ = false;
  double cell_width_ = 0, header_ = 0, width_ = 0, height_ = 0;
};

}  // namespace

std::string layer_map(const std::string& id, const std::string& title, const std::string& about,
                      const std::vector<LayerCell>& cells) {
  Map map(cells);
  const std::string shapes = map.shapes();
  return picture({id, title, about, map.width(), map.height(), shapes}, "map");
}

}  // namespace klens::apps
