#include <algorithm>
#include <map>

#include "apps/cli/output.h"
#include "apps/plan_view.h"

namespace klens::apps {
namespace {

constexpr size_t kLabelWidth = 11;  // "  embedding"

// "head[0:4096]" too.
bool outside_layers(const MapCell& cell) {
  const std::string kind = cell.kind.substr(0, cell.kind.find('['));
  return cell.layer < 0 || kind == "head" || kind == "embedding";
}

std::string centred(const std::string& text, size_t width) {
  if (text.size() >= width) return text;
  const size_t left = (width - text.size()) / 2;
  return std::string(left, ' ') + text + std::string(width - text.size() - left, ' ');
}

// A line without the blanks at its end.
std::string trimmed(std::string line) {
  while (line.ends_with(' ')) line.pop_back();
  return line + "\n";
}

struct MapColumn {
  std::string kind;
  size_t width = 0;
};

// In the order in which the kinds first appear.
std::vector<MapColumn> map_columns(const std::vector<MapCell>& cells) {
  std::vector<MapColumn> columns;
  for (const MapCell& cell : cells) {
    if (outside_layers(cell)) continue;
    auto column = std::find_if(columns.begin(), columns.end(),
                               [&](const MapColumn& c) { return c.kind == cell.kind; });
    if (column == columns.end())
      column = columns.insert(columns.end(), {cell.kind, cell.kind.size()});
    column->width = std::max({column->width, cell.text.size() + 2, size_t{8}});
  }
  return columns;
}

std::string outside_line(const std::vector<MapCell>& cells, bool before, const Style& style) {
  std::string out;
  for (const MapCell& cell : cells) {
    if (!outside_layers(cell) || (cell.layer < 0) != before) continue;
    out += trimmed(
        formatted("  %-*s", static_cast<int>(kLabelWidth - 1), cell.kind.c_str()) +
        style.on(cell.background, centred(cell.text, std::max(cell.text.size() + 2, size_t{8}))));
  }
  return out;
}

}  // namespace

std::string block_map(const std::vector<MapCell>& cells, const Style& style) {
  std::map<int64_t, std::map<std::string, const MapCell*>> layers;
  for (const MapCell& cell : cells) {
    if (!outside_layers(cell)) layers[cell.layer][cell.kind] = &cell;
  }
  const std::vector<MapColumn> columns = map_columns(cells);
  std::string out = outside_line(cells, true, style);
  for (size_t first = 0; first < columns.size();) {
    // As many columns as fit; the others follow in a band of their own.
    size_t last = first, width = kLabelWidth + 1;
    while (last < columns.size() &&
           (last == first || width + columns[last].width + 1 <= kLineColumns))
      width += columns[last++].width + 1;
    std::string header = formatted("  %-*s", static_cast<int>(kLabelWidth - 1), "layer");
    for (size_t c = first; c < last; ++c)
      header += centred(columns[c].kind, columns[c].width) + " ";
    out += style.bold(trimmed(header));
    for (const auto& [layer, row] : layers) {
      std::string line =
          formatted("  %5lld", static_cast<long long>(layer)) + std::string(kLabelWidth - 6, ' ');
      for (size_t c = first; c < last; ++c) {
        const auto cell = row.find(columns[c].kind);
        line += cell == row.end() ? centred(".", columns[c].width)
                                  : style.on(cell->second->background,
                                             centred(cell->second->text, columns[c].width));
        line += " ";
      }
      out += trimmed(line);
    }
    first = last;
  }
  return out + outside_line(cells, false, style);
}

}  // namespace klens::apps
