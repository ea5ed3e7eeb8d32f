// For linear_f32_amx.h and linear_i8_amx.h.
#pragma once
#include <cstdint>

namespace klens::cpu {
namespace {

// The operand of LDTILECFG: of each tile how many rows, and their bytes; 0: it is not used.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace
}  // namespace klens::cpu
