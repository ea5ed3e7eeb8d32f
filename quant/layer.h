#pragma once
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace klens {

// Where a unit stands, as its checkpoint says it: "model.layers.N.mlp.up_proj" is module
// "mlp.up_proj" of layer N of "model.layers". A layer may be several residual steps.
struct LayerPlace {
  std::string_view stack, module;
  int64_t layer = 0;
};

// By the first number in the unit's name. None: in no layer.
inline std::optional<LayerPlace> place_of(std::string_view unit_name) {
  for (size_t at = 0; at < unit_name.size();) {
    const size_t end = std::min(unit_name.find('.', at), unit_name.size());
    const char *first = unit_name.data() + at, *last = unit_name.data() + end;
    int64_t number = 0;
    const auto [stopped, error] = std::from_chars(first, last, number);
    if (error == std::errc() && stopped == last && number >= 0)
      return LayerPlace{.stack = unit_name.substr(0, at > 0 ? at - 1 : 0),
                        .module = unit_name.substr(std::min(end + 1, unit_name.size())),
                        .layer = number};
    at = end + 1;
  }
  return std::nullopt;
}

inline std::optional<int64_t> layer_of(std::string_view unit_name) {
  const std::optional<LayerPlace> place = place_of(unit_name);
  if (!place) return std::nullopt;
  return place->layer;
}

}  // namespace klens
