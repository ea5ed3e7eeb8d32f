#pragma once
#include <bit>
#include <cstdint>

namespace klens {

// IEEE binary16 to binary32, exact (subnormals, infinities and NaN included). Without branches, so
// that compilers can convert several at once: a shift puts exponent and mantissa in their places,
// the multiplication makes up for the difference of the biases.
constexpr float f16_to_f32(uint16_t h) {
  const uint32_t magnitude = h & 0x7fffu;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t beyond = magnitude >= 0x7c00u ? 0x7f800000u : 0u;  // infinities and NaN
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | beyond |
                              uint32_t{h & 0x8000u} << 16);
}

// binary32 to binary16, round to nearest even; overflow gives infinity, NaN stays NaN.
constexpr uint16_t f32_to_f16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // subnormal or zero: the addition rounds at 2^-24, to even
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

// binary32 to bfloat16, round to nearest even; of a finite number.
constexpr uint16_t f32_to_bf16(float f) {
  const auto bits = std::bit_cast<uint32_t>(f);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

constexpr float bf16_to_f32(uint16_t h) { return std::bit_cast<float>(uint32_t{h} << 16); }

}  // namespace klens
