#include "loaders/context_length.h"

#include <algorithm>

#include "base/error.h"
#include "loaders/config.h"

namespace klens {
namespace {

// Rotations that are stretched by a factor were trained on as much more; the other scalings'
// max_position_embeddings says what they reach.
double stretch(const Config& config) {
  const Config scaling =
      config.child(config.has_content("rope_parameters") ? "rope_parameters" : "rope_scaling");
  if (scaling.text({"rope_type", "type"}, "default") != "linear") return 1;
  return std::max(scaling.number({"factor"}, 1e-6, 1e6, 1), 1.0);
}

}  // namespace

std::optional<int64_t> context_length(const Checkpoint& checkpoint) {
  if (checkpoint.spec.caches.empty()) return std::nullopt;
  try {
    const Config config = Config(checkpoint.texts.config, checkpoint.path).language();
    const char* key = "max_position_embeddings";
    if (!config.has({key})) return std::nullopt;
    return static_cast<int64_t>(config.number({key}, 1, 0x1p40) * stretch(config));
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace klens
