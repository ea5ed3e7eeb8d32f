#include "loaders/context_length.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace klens {
namespace {

// object[key] as a number above 0, or 0.
double positive(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return 0;
  const double value = found->get<double>();
  return value > 0 && value < 0x1p40 ? value : 0;
}

// Rotations that are stretched by a factor were trained on as much more; the other scalings'
// max_position_embeddings says what they reach.
double stretch(const nlohmann::json& config) {
  for (const char* place : {"rope_parameters", "rope_scaling"}) {
    const auto scaling = config.find(place);
    if (scaling == config.end() || !scaling->is_object()) continue;
    for (const char* key : {"rope_type", "type"})
      if (const auto type = scaling->find(key); type != scaling->end() && *type == "linear")
        return std::max(positive(*scaling, "factor"), 1.0);
  }
  return 1;
}

}  // namespace

std::optional<int64_t> context_length(const Checkpoint& checkpoint) {
  if (checkpoint.spec.caches.empty()) return std::nullopt;
  const auto config = nlohmann::json::parse(checkpoint.texts.config, nullptr, false);
  if (!config.is_object()) return std::nullopt;
  const double positions = positive(config, "max_position_embeddings");
  if (positions < 1) return std::nullopt;
  return static_cast<int64_t>(positions * stretch(config));
}

}  // namespace klens
