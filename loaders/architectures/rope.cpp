// Rotary position embeddings: the frequencies of every scaling, in transformers' arithmetic.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "loaders/architectures/spec_builder.h"
#include "loaders/json.h"

namespace klens {
namespace {

// The settings of a rotation, wherever a config keeps them.
struct RopeSettings {
  Config where;  // of type, factor, ...
  std::string type;
  double theta;
  int64_t dim;  // rotated channels
  int64_t max_position;
};

std::vector<float> linear(const RopeSettings& s) {
  std::vector<float> frequencies = rope_frequencies(s.theta, s.dim);
  const float factor = static_cast<float>(s.where.number({"factor"}, 1e-6, 1e6));
  for (float& f : frequencies) f /= factor;
  return frequencies;
}

// What a GGUF says of Llama 3's scaling: the divisors themselves.
std::vector<float> divided(const RopeSettings& s) {
  std::vector<float> frequencies = rope_frequencies(s.theta, s.dim);
  const std::vector<double> factors = s.where.numbers("factors");
  if (factors.size() != frequencies.size())
    s.where.fail("factors has " + std::to_string(factors.size()) + " numbers for " +
                 std::to_string(frequencies.size()) + " pairs of channels");
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(factors[i] > 0 && factors[i] < 1e9)) s.where.fail("factors holds a number out of range");
    frequencies[i] /= static_cast<float>(factors[i]);
  }
  return frequencies;
}

// Llama 3: long wavelengths are stretched, short ones kept, those between interpolated.
std::vector<float> llama3(const RopeSettings& s) {
  const float factor = static_cast<float>(s.where.number({"factor"}, 1e-6, 1e6));
  const double low = s.where.number({"low_freq_factor"}, 1e-6, 1e6);
  const double high = s.where.number({"high_freq_factor"}, 1e-6, 1e6);
  const int64_t original =
      s.where.integer({"original_max_position_embeddings"}, 1, kMaxPosition, s.max_position);
  if (high <= low) s.where.fail("high_freq_factor is not above low_freq_factor");
  const float low_wavelength = static_cast<float>(static_cast<double>(original) / low);
  const float high_wavelength = static_cast<float>(static_cast<double>(original) / high);
  std::vector<float> frequencies = rope_frequencies(s.theta, s.dim);
  for (float& f : frequencies) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / f;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      f /= factor;
      continue;
    }
    const float smooth = (static_cast<float>(original) / wavelength - static_cast<float>(low)) /
                         static_cast<float>(high - low);
    f = (1 - smooth) * f / factor + smooth * f;
  }
  return frequencies;
}

// YaRN (arXiv 2309.00071): extrapolates the fast channels, interpolates the slow ones.
RopeSpec yarn(const RopeSettings& s) {
  const double original = static_cast<double>(
      s.where.integer({"original_max_position_embeddings"}, 1, kMaxPosition, s.max_position));
  const double factor =
      s.where.number({"factor"}, 1e-6, 1e6, static_cast<double>(s.max_position) / original);
  const double beta_fast = s.where.number({"beta_fast"}, 1e-3, 1e6, 32);
  const double beta_slow = s.where.number({"beta_slow"}, 1e-3, 1e6, 1);
  const auto magnitude = [](double scale, double m) {
    return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0;
  };
  double attention_factor = magnitude(factor, 1);
  const double mscale = s.where.number({"mscale"}, 0, 1e6, 0);
  const double mscale_all = s.where.number({"mscale_all_dim"}, 0, 1e6, 0);
  if (mscale != 0 && mscale_all != 0)
    attention_factor = magnitude(factor, mscale) / magnitude(factor, mscale_all);
  attention_factor = s.where.number({"attention_factor"}, 0, 1e6, attention_factor);

  const double dim = static_cast<double>(s.dim);
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(s.theta));
  };
  double low = correction(beta_fast), high = correction(beta_slow);
  if (s.where.boolean({"truncate"}, true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  RopeSpec spec{.inv_freq = {}, .scale = static_cast<float>(attention_factor), .dynamic = {}};
  for (int64_t i = 0; i < s.dim / 2; ++i) {
    const float base = std::pow(static_cast<float>(s.theta),
                                static_cast<float>(2 * i) / static_cast<float>(s.dim));
    const float extrapolated = 1.0f / base;
    const float interpolated = 1.0f / (static_cast<float>(factor) * base);
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float keep = 1 - ramp;
    spec.inv_freq.push_back(interpolated * (1 - keep) + extrapolated * keep);
  }
  return spec;
}

// Nothing for a type that is not known.
std::optional<RopeSpec> scaled(const RopeSettings& s) {
  if (s.type == "default")
    return RopeSpec{.inv_freq = rope_frequencies(s.theta, s.dim), .scale = 1, .dynamic = {}};
  if (s.type == "linear") return RopeSpec{.inv_freq = linear(s), .scale = 1, .dynamic = {}};
  if (s.type == "llama3") return RopeSpec{.inv_freq = llama3(s), .scale = 1, .dynamic = {}};
  if (s.type == "yarn") return yarn(s);
  if (s.type == "factors") return RopeSpec{.inv_freq = divided(s), .scale = 1, .dynamic = {}};
  if (s.type == "dynamic") {
    if (s.dim <= 2) s.where.unsupported("dynamic rotation needs more than 2 channels");
    return RopeSpec{.inv_freq = rope_frequencies(s.theta, s.dim),
                    .scale = 1,
                    .dynamic = RopeSpec::Dynamic{.base = s.theta,
                                                 .factor = s.where.number({"factor"}, 1, 1e6),
                                                 .max_position = s.max_position}};
  }
  return std::nullopt;
}

}  // namespace

std::vector<float> rope_frequencies(double base, int64_t dim) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < dim / 2; ++i)
    frequencies.push_back(1.0f / std::pow(static_cast<float>(base),
                                          static_cast<float>(2 * i) / static_cast<float>(dim)));
  return frequencies;
}

RopeSpec rope(const Config& config, int64_t head_dim, double default_partial,
              double default_theta) {
  const char* place = config.has_content("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const Config where = config.child(place);
  const double theta =
      where.number({"rope_theta"}, 1, 1e15, config.number({"rope_theta"}, 1, 1e15, default_theta));
  const double partial =
      where.number({"partial_rotary_factor"}, 0, 1,
                   config.number({"partial_rotary_factor"}, 0, 1, default_partial));
  const RopeSettings settings{
      .where = where,
      .type = where.text({"rope_type", "type"}, "default"),
      .theta = theta,
      .dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial),
      .max_position = config.integer({"max_position_embeddings"}, 1, kMaxPosition, 2048)};
  if (settings.dim % 2 != 0)
    config.unsupported("rotates " + std::to_string(settings.dim) +
                       " channels of each head, which is odd");
  std::optional<RopeSpec> spec = scaled(settings);
  if (!spec)
    config.unsupported(std::string(place) + " of type \"" + settings.type +
                       "\" is not one that klens has (default, linear, dynamic, yarn, llama3)");
  for (const std::string& key : where.unread())
    // mrope: a text's three positions are one.
    if (key != "original_max_position_embeddings" && key != "finetuned" && key != "mrope_section" &&
        key != "mrope_interleaved")
      config.unsupported(std::string(place) + " of type " + settings.type + " has a key " +
                         brief(key) + ", which klens does not know");
  return std::move(*spec);
}

}  // namespace klens
