// For linear_f32_avx2.cpp only: weights of any layout as FP32 registers. Internal linkage
// throughout.
//
// The unit is 16 outputs x 8 columns, as 16 registers: register (p, q) holds columns 2p and 2p + 1
// of outputs 4q .. 4q + 3, side by side: [w(4q, 2p), w(4q, 2p + 1), w(4q + 1, 2p), ...]. FP16 tiles
// lie like that in memory, rows need a transposition of 64-bit pairs only, and it halves the loads
// of activations per multiply-add.
#pragma once
#include "kernels/cpu/linear/tile_codes.h"
#include "kernels/cpu/vec_avx2.h"
#include "kernels/weights.h"

namespace klens::cpu {
namespace {

constexpr int64_t kUnitCols = 8;

// Row layouts: 16 rows of W, the last repeated where W ends earlier.
template <class Element>
struct RowsSource {
  const Element* rows[kTileOutputs];
  const char* next;  // where the next 16 rows begin, or null: they follow, contiguous
};

// Fetches the next 16 rows' part that corresponds to the unit at column k. Sixteen streams a row
// apart are more than a hardware prefetcher follows; asking ahead in the order of memory makes up
// for it. GCC drops calls of a function that does nothing else, so this is none.
template <class Element>
inline __attribute__((always_inline)) void prefetch_next(const RowsSource<Element>& s, int64_t k) {
  if (s.next == nullptr) return;
  constexpr int64_t kBytes = kTileOutputs * kUnitCols * static_cast<int64_t>(sizeof(Element));
  const char* from = s.next + k / kUnitCols * kBytes;
  for (int64_t i = 0; i < kBytes; i += 64) _mm_prefetch(from + i, _MM_HINT_T1);
}

inline __m256 load_row8(const float* p) { return _mm256_loadu_ps(p); }

struct Half {
  uint16_t bits;
};
inline __m256 load_row8(const Half* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

struct Bfloat {
  uint16_t bits;
};
inline __m256 load_row8(const Bfloat* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

template <class Element>
inline void begin(RowsSource<Element>& s, const WeightView& w, int64_t tile, int64_t,
                  bool whole_rows) {
  for (int64_t o = 0; o < kTileOutputs; ++o) {
    const int64_t row = tile * kTileOutputs + o;
    s.rows[o] = static_cast<const Element*>(w.data) + (row < w.rows ? row : w.rows - 1) * w.cols;
  }
  const int64_t next_row = (tile + 1) * kTileOutputs;
  s.next =
      whole_rows && next_row + kTileOutputs <= w.rows
          ? reinterpret_cast<const char*>(static_cast<const Element*>(w.data) + next_row * w.cols)
          : nullptr;
}

// use(p, q, register) for p, q in 0..3, each q with ascending p. W's columns k .. k + 7 exist.
template <class Element, class Use>
inline __attribute__((always_inline)) void unit(RowsSource<Element>& s, int64_t k, Use use) {
  prefetch_next(s, k);
  for (int q = 0; q < 4; ++q) {
    const __m256d r0 = _mm256_castps_pd(load_row8(s.rows[4 * q] + k));
    const __m256d r1 = _mm256_castps_pd(load_row8(s.rows[4 * q + 1] + k));
    const __m256d r2 = _mm256_castps_pd(load_row8(s.rows[4 * q + 2] + k));
    const __m256d r3 = _mm256_castps_pd(load_row8(s.rows[4 * q + 3] + k));
    const __m256d a = _mm256_unpacklo_pd(r0, r1), b = _mm256_unpackhi_pd(r0, r1);
    const __m256d c = _mm256_unpacklo_pd(r2, r3), d = _mm256_unpackhi_pd(r2, r3);
    use(0, q, _mm256_castpd_ps(_mm256_permute2f128_pd(a, c, 0x20)));
    use(1, q, _mm256_castpd_ps(_mm256_permute2f128_pd(b, d, 0x20)));
    use(2, q, _mm256_castpd_ps(_mm256_permute2f128_pd(a, c, 0x31)));
    use(3, q, _mm256_castpd_ps(_mm256_permute2f128_pd(b, d, 0x31)));
  }
}

// The last, short unit: `cols` columns are left, the others come out as zero.
template <class Element, class Use>
inline void tail_unit(const RowsSource<Element>& s, int64_t k, int64_t cols, Use use) {
  Element buffer[kTileOutputs][kUnitCols] = {};
  RowsSource<Element> padded;
  padded.next = nullptr;
  for (int64_t o = 0; o < kTileOutputs; ++o) {
    for (int64_t i = 0; i < cols; ++i) buffer[o][i] = s.rows[o][k + i];
    padded.rows[o] = buffer[o];
  }
  unit(padded, 0, use);
}

// Tile layouts: the tiles of one row of tiles; integer ones with the scales of the current group,
// each twice, as the unit's registers want them. Where there may be minima, numbers are scale *
// code
// + base, of which only the sum rounds: the base is the minimum, or undoes the offset of the codes.
template <class Codes>
struct TilesSource {
  const uint8_t* tiles;
  const uint16_t *scales, *minima;
  int64_t group, group_end;  // columns per group; the column at which the next one starts
  __m256 scale[4], base[Codes::kMinima ? 4 : 1];
};

template <class Codes>
constexpr bool kHalves = Codes::kLayout == Layout::kTilesF16;

inline void load_twice(const uint16_t* halves, __m256 (&twice)[4]) {
  const __m256i low = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  const __m256i high = _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7);
  for (int i = 0; i < 2; ++i) {
    const __m256 eight =
        _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + 8 * i)));
    twice[2 * i] = _mm256_permutevar8x32_ps(eight, low);
    twice[2 * i + 1] = _mm256_permutevar8x32_ps(eight, high);
  }
}

template <class Codes>
inline void load_scales(TilesSource<Codes>& s) {
  load_twice(s.scales, s.scale);
  if constexpr (Codes::kMinima) {
    if (s.minima != nullptr) return load_twice(s.minima, s.base);
    const __m256 offset = _mm256_set1_ps(-(1 << Codes::kOffsetBits));
    for (int q = 0; q < 4; ++q) s.base[q] = _mm256_mul_ps(s.scale[q], offset);
  }
}

// Starts at column k, which begins a unit and, in integer layouts, lies in group k / group.
template <class Codes>
inline void begin(TilesSource<Codes>& s, const WeightView& w, int64_t tile, int64_t k, bool) {
  const int64_t col_tiles = (w.cols + Codes::kCols - 1) / Codes::kCols;
  s.tiles = static_cast<const uint8_t*>(w.data) + tile * col_tiles * Codes::kBytes;
  if (kHalves<Codes>) return;
  const int64_t groups = (w.cols + w.group - 1) / w.group, g = k / w.group;
  const int64_t at = (tile * groups + g) * kTileOutputs;
  s.scales = w.scale + at;
  s.minima = w.min == nullptr ? nullptr : w.min + at;
  s.group = w.group;
  s.group_end = (g + 1) * w.group;
  load_scales(s);
}

// 8 outputs x 4 int8 columns: the pairs of columns 0, 1 in the low half, of 2, 3 in the high one.
inline __m256i split_pairs(__m256i v) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1,
                                         4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, order), 0xd8);
}

// Register (p, q) from its integers.
template <class Codes>
inline __attribute__((always_inline)) __m256 number_of(const TilesSource<Codes>& s, int q,
                                                       __m256i integers) {
  const __m256 v = _mm256_cvtepi32_ps(integers);
  if constexpr (Codes::kMinima) return _mm256_fmadd_ps(v, s.scale[q], s.base[q]);
  return _mm256_mul_ps(v, s.scale[q]);
}

// Registers (p, q), (p, q + 1) from the pairs of 8 outputs.
template <class Codes, class Use>
inline __attribute__((always_inline)) void use_pairs(int p, int q, __m128i pairs,
                                                     const TilesSource<Codes>& s, Use use) {
  use(p, q, number_of(s, q, _mm256_cvtepi8_epi32(pairs)));
  use(p, q + 1, number_of(s, q + 1, _mm256_cvtepi8_epi32(_mm_srli_si128(pairs, 8))));
}

// Four columns of 8 outputs from int8.
template <class Codes, class Use>
inline __attribute__((always_inline)) void use_int8(int p, int q, __m256i v,
                                                    const TilesSource<Codes>& s, Use use) {
  const __m256i split = split_pairs(v);
  use_pairs(p, q, _mm256_castsi256_si128(split), s, use);
  use_pairs(p + 1, q, _mm256_extracti128_si256(split, 1), s, use);
}

// The bits of the unit at column k of a tile, of which each column has `Bits` in lines from `Line`
// on: those of its first four columns lowest.
template <int Line, int Bits>
inline __attribute__((always_inline)) __m256i bits_from(const uint8_t* tile, int64_t k, int half) {
  const int64_t bit = k / 4 * Bits;
  const uint8_t* line = tile + (Line + bit / 8) * kLineBytes + 32 * half;
  const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(line));
  if constexpr (Bits == 4) return v;
  return _mm256_srl_epi16(v, _mm_cvtsi32_si128(static_cast<int>(bit % 8)));
}

// The unit at column k of a tile.
template <class Codes, class Use>
inline __attribute__((always_inline)) void unit_of(const uint8_t* tile, int64_t k,
                                                   const TilesSource<Codes>& s, Use use) {
  if (kHalves<Codes>) {
    for (int i = 0; i < 16; ++i)
      use(i / 4, i % 4,
          _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(tile + 16 * i))));
    return;
  }
  for (int half = 0; half < 2; ++half) {  // outputs 0..7, then 8..15
    if constexpr (Codes::kInt8) {
      const auto* at = reinterpret_cast<const __m256i*>(tile + 32 * half);
      use_int8(0, 2 * half, _mm256_load_si256(at), s, use);
      use_int8(2, 2 * half, _mm256_load_si256(at + 2), s, use);
    } else {
      constexpr int kLow = Codes::kLowBits, kPlane = Codes::kPlaneBits;
      const __m256i low_mask = _mm256_set1_epi8(Codes::kLowMask), offset = _mm256_set1_epi8(8);
      const __m256i bytes = bits_from<0, kLow>(tile, k, half);
      __m256i low = _mm256_and_si256(bytes, low_mask);
      __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, kLow), low_mask);
      if constexpr (kPlane != 0) {
        const __m256i planes = bits_from<Codes::kPlanes, kPlane>(tile, k, half);
        const __m256i mask = _mm256_set1_epi8(Codes::kPlaneMask);
        low = _mm256_or_si256(low, _mm256_and_si256(_mm256_slli_epi16(planes, kLow), mask));
        high =
            _mm256_or_si256(high, _mm256_and_si256(_mm256_slli_epi16(planes, kLow - kPlane), mask));
      } else if constexpr (!Codes::kMinima) {
        low = _mm256_sub_epi8(low, offset);
        high = _mm256_sub_epi8(high, offset);
      }
      use_int8(0, 2 * half, low, s, use);
      use_int8(2, 2 * half, high, s, use);
    }
  }
}

template <class Codes>
inline __attribute__((always_inline)) void advance(TilesSource<Codes>& s, int64_t k) {
  if (kHalves<Codes> || k < s.group_end) return;
  s.scales += kTileOutputs;
  if (Codes::kMinima && s.minima != nullptr) s.minima += kTileOutputs;
  s.group_end += s.group;
  load_scales(s);
}

template <class Codes, class Use>
inline __attribute__((always_inline)) void unit(TilesSource<Codes>& s, int64_t k, Use use) {
  advance(s, k);
  constexpr bool kUnits = Codes::kCols > kUnitCols;  // in a tile, several
  unit_of<Codes>(s.tiles + k / Codes::kCols * Codes::kBytes, kUnits ? k % Codes::kCols : 0, s, use);
}

template <class Codes, class Use>
inline void tail_unit(TilesSource<Codes>& s, int64_t k, int64_t cols, Use use) {
  if constexpr (Codes::kCols >= kUnitCols) return unit(s, k, use);  // padding makes it whole
  advance(s, k);
  alignas(64) uint8_t buffer[4 * kLineBytes] = {};
  const uint8_t* tiles = s.tiles + k / Codes::kCols * kLineBytes;
  const int64_t bytes = (cols + Codes::kCols - 1) / Codes::kCols * kLineBytes;
  for (int64_t i = 0; i < bytes; ++i) buffer[i] = tiles[i];
  unit_of<Codes>(buffer, 0, s, use);
}

}  // namespace
}  // namespace klens::cpu
