#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace klens::apps {

// A matrix, or several of one kind in one layer, on a map.
struct LayerCell {
  std::string kind;
  int64_t layer = -1;
  std::string style;   // a class of the page's
  std::string colour;  // "" for the class's own
  std::string letter;  // in it; may be empty
  std::string about;   // shown where a pointer rests on it
};

// Rows are layers as the checkpoint counts them, columns kinds of matrices; what is in no layer
// stands above or below, as wide as all. One SVG of at most 340 units, readable at that width.
std::string layer_map(const std::string& id, const std::string& title, const std::string& about,
                      const std::vector<LayerCell>& cells);

}  // namespace klens::apps
