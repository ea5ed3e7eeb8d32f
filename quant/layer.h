#pragma once
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace klens {

// The layer of a unit as its checkpoint counts them: the first number in the name, N of
// "model.layers.N.mlp.up_proj". A layer may be several residual steps. Absent: in no layer.
inline std::optional<int64_t> layer_of(std::string_view unit_name) {
  while (!unit_name.empty()) {
    const std::string_view part = unit_name.substr(0, unit_name.find('.'));
    int64_t number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    if (error == std::errc() && end == part.data() + part.size() && number >= 0) return number;
    unit_name.remove_prefix(part.size() == unit_name.size() ? part.size() : part.size() + 1);
  }
  return std::nullopt;
}

}  // namespace klens
