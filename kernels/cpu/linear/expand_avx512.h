// For linear_f32_avx512.cpp only: weights of any layout as FP32 registers. Internal linkage
// throughout.
//
// The unit is 16 outputs x 16 columns, as 16 registers: register (p, h) holds columns 2p and 2p + 1
// of outputs 8h .. 8h + 7, side by side: [w(8h, 2p), w(8h, 2p + 1), w(8h + 1, 2p), ...]. FP16 tiles
// lie like that in memory, rows need a transposition of 64-bit pairs only, and it halves the loads
// of activations per multiply-add. Columns after the last come out as finite numbers, to be
// multiplied with zeros.
#pragma once
#include "kernels/cpu/linear/tile_codes.h"
#include "kernels/cpu/vec_avx512.h"
#include "kernels/weights.h"

namespace klens::cpu {
namespace {

constexpr int64_t kUnitCols = 16;

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

// Eight columns of two rows; of a short unit the masked ones, and zeros.
template <bool Whole>
inline __m512 load_rows(const float* a, const float* b, __mmask8 mask) {
  const __m256 low = Whole ? _mm256_loadu_ps(a) : _mm256_maskz_loadu_ps(mask, a);
  const __m256 high = Whole ? _mm256_loadu_ps(b) : _mm256_maskz_loadu_ps(mask, b);
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

template <bool Whole>
inline __m256i load_halves(const uint16_t* a, const uint16_t* b, __mmask8 mask) {
  const __m128i low =
      Whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)) : _mm_maskz_loadu_epi16(mask, a);
  const __m128i high =
      Whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)) : _mm_maskz_loadu_epi16(mask, b);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

struct Half {
  uint16_t bits;
};
template <bool Whole>
inline __m512 load_rows(const Half* a, const Half* b, __mmask8 mask) {
  return _mm512_cvtph_ps(load_halves<Whole>(&a->bits, &b->bits, mask));
}

struct Bfloat {
  uint16_t bits;
};
template <bool Whole>
inline __m512 load_rows(const Bfloat* a, const Bfloat* b, __mmask8 mask) {
  const __m256i halves = load_halves<Whole>(&a->bits, &b->bits, mask);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
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

// use(p, h, register) for p in 0..7, h in 0..1, each h with ascending p. A unit that is not whole
// has `cols` columns from k on.
template <bool Whole, class Element, class Use>
inline __attribute__((always_inline)) void unit(RowsSource<Element>& s, int64_t k, int64_t cols,
                                                Use use) {
  prefetch_next(s, k);
  for (int h = 0; h < 2; ++h)
    for (int half = 0; half < 2; ++half) {
      const __mmask8 mask = static_cast<__mmask8>(first_lanes(cols) >> (8 * half));
      const Element* const* rows = s.rows + 8 * h;
      __m512d even[2], odd[2];  // pairs 0 2 and 1 3 of rows 0 1, 2 3 and of rows 4 5, 6 7
      for (int i = 0; i < 2; ++i) {
        const int64_t at = k + 8 * half;
        const __m512d a =
            _mm512_castps_pd(load_rows<Whole>(rows[4 * i] + at, rows[4 * i + 2] + at, mask));
        const __m512d b =
            _mm512_castps_pd(load_rows<Whole>(rows[4 * i + 1] + at, rows[4 * i + 3] + at, mask));
        even[i] = _mm512_unpacklo_pd(a, b);
        odd[i] = _mm512_unpackhi_pd(a, b);
      }
      use(4 * half, h, _mm512_castpd_ps(_mm512_shuffle_f64x2(even[0], even[1], 0x88)));
      use(4 * half + 1, h, _mm512_castpd_ps(_mm512_shuffle_f64x2(odd[0], odd[1], 0x88)));
      use(4 * half + 2, h, _mm512_castpd_ps(_mm512_shuffle_f64x2(even[0], even[1], 0xdd)));
      use(4 * half + 3, h, _mm512_castpd_ps(_mm512_shuffle_f64x2(odd[0], odd[1], 0xdd)));
    }
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
  __m512 scale[2], base[2];
};

template <class Codes>
constexpr bool kHalves = Codes::kLayout == Layout::kTilesF16;

// Whether integers are expanded from bytes at the top of their dwords, 2^24 times too large.
template <class Codes>
constexpr bool kFromBytes = Codes::kInt8 || Codes::kMinima;

// The lanes of outputs 8h .. 8h + 7, each twice.
inline __m512i twice(int h) {
  const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return h == 0 ? low : _mm512_add_epi32(low, _mm512_set1_epi32(8));
}

template <class Codes>
inline void load_scales(TilesSource<Codes>& s) {
  const auto sixteen = [](const uint16_t* halves) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
  };
  __m512 scale = sixteen(s.scales);
  if constexpr (Codes::kMinima) {
    const __m512 offset = _mm512_set1_ps(-(1 << Codes::kOffsetBits));
    const __m512 base = s.minima != nullptr ? sixteen(s.minima) : _mm512_mul_ps(scale, offset);
    for (int h = 0; h < 2; ++h) s.base[h] = _mm512_permutexvar_ps(twice(h), base);
  }
  if (kFromBytes<Codes>) scale = _mm512_mul_ps(scale, _mm512_set1_ps(0x1p-24f));
  for (int h = 0; h < 2; ++h) s.scale[h] = _mm512_permutexvar_ps(twice(h), scale);
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

template <class Codes>
inline __attribute__((always_inline)) void advance(TilesSource<Codes>& s, int64_t k) {
  if (kHalves<Codes> || k < s.group_end) return;
  s.scales += kTileOutputs;
  if (Codes::kMinima && s.minima != nullptr) s.minima += kTileOutputs;
  s.group_end += s.group;
  load_scales(s);
}

// Columns 2 pair, 2 pair + 1 of the tile from its dwords, each twice, times 2^24: the byte moves to
// the top of its dword.
inline __m512 int8_pair(__m512i bytes, int pair) {
  const __m128i low = _mm_setr_epi8(-1, -1, -1, 0, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 13);
  const __m128i high = _mm_setr_epi8(-1, -1, -1, 2, -1, -1, -1, 7, -1, -1, -1, 10, -1, -1, -1, 15);
  const __m512i order = _mm512_broadcast_i32x4(pair == 0 ? low : high);
  return _mm512_cvtepi32_ps(_mm512_shuffle_epi8(bytes, order));
}

// The same of nibbles. Of an index, the permutation sees the lowest four bits.
inline __m512 int4_pair(__m512i nibbles, int pair) {
  const __m512 value = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  const int64_t shift = 0x800000000 + pair % 2 * 0x1000000010 + pair / 2 * 0x400000004;
  return _mm512_permutexvar_ps(_mm512_srlv_epi32(nibbles, _mm512_set1_epi64(shift)), value);
}

// Vector V of the four that a unit of several bits has, a code to a byte. `line`: that of its low
// bits; `plane`: the unit's line of planes, shifted so that vector 0 has its bits lowest.
template <class Codes, int V>
inline __attribute__((always_inline)) __m512i codes_of(__m512i line, __m512i plane) {
  constexpr int kLow = Codes::low_shift(V);
  const __m512i low = kLow == 0 ? line : _mm512_srli_epi16(line, kLow);
  const __m512i code = _mm512_and_si512(low, _mm512_set1_epi8(Codes::kLowMask));
  if constexpr (Codes::kPlaneBits == 0) {
    return code;
  } else {
    constexpr int kShift = Codes::kLowBits - V * Codes::kPlaneBits;
    __m512i bits = plane;
    if constexpr (kShift > 0) bits = _mm512_slli_epi16(plane, kShift);
    if constexpr (kShift < 0) bits = _mm512_srli_epi16(plane, -kShift);
    return _mm512_or_si512(code, _mm512_and_si512(bits, _mm512_set1_epi8(Codes::kPlaneMask)));
  }
}

// Registers (p, h) and (p + 1, h) from the dwords of four columns, a byte each.
template <class Codes, class Use>
inline __attribute__((always_inline)) void use_bytes(const TilesSource<Codes>& s, int p,
                                                     __m512i bytes, Use use) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i dwords = _mm512_permutexvar_epi32(twice(h), bytes);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m512 w = int8_pair(dwords, i);
      use(p + i, h, _mm512_fmadd_ps(w, s.scale[h], s.base[h]));
    }
  }
}

// A unit of codes that may have minima: four vectors, in one half of a tile of 32 columns, or in
// two tiles of kTilesI4, of which the second may be missing.
template <bool Whole, class Codes, class Use>
inline __attribute__((always_inline)) void unit_of_codes(const TilesSource<Codes>& s, int64_t k,
                                                         int64_t cols, Use use) {
  const uint8_t* tile = s.tiles + k / Codes::kCols * Codes::kBytes;
  const int64_t vector = k % Codes::kCols / 4;  // of the tile
  __m512i plane = _mm512_setzero_si512();
  if constexpr (Codes::kPlaneBits != 0) {
    const int64_t bit = vector * Codes::kPlaneBits;
    plane = _mm512_srl_epi16(_mm512_load_si512(tile + (Codes::kPlanes + bit / 8) * kLineBytes),
                             _mm_cvtsi32_si128(static_cast<int>(bit % 8)));
  }
  const uint8_t* lines = tile + vector * Codes::kLowBits / 8 * kLineBytes;
  const __m512i line0 = _mm512_load_si512(lines);
  const bool second = Whole || Codes::kCols == 32 || cols > Codes::kCols;
  __m512i line1 = line0;
  if constexpr (Codes::kLowBits == 4)
    line1 = second ? _mm512_load_si512(lines + kLineBytes) : _mm512_setzero_si512();
  use_bytes(s, 0, codes_of<Codes, 0>(line0, plane), use);
  use_bytes(s, 2, codes_of<Codes, 1>(line0, plane), use);
  use_bytes(s, 4, codes_of<Codes, 2>(line1, plane), use);
  use_bytes(s, 6, codes_of<Codes, 3>(line1, plane), use);
}

template <bool Whole, class Codes, class Use>
inline __attribute__((always_inline)) void unit(TilesSource<Codes>& s, int64_t k, int64_t cols,
                                                Use use) {
  advance(s, k);
  if constexpr (Codes::kMinima) return unit_of_codes<Whole>(s, k, cols, use);
  constexpr int kPairs = Codes::kCols / 2;  // of a tile
  const uint8_t* from = s.tiles + k / Codes::kCols * kLineBytes;
#pragma GCC unroll 8  // an index of registers should be a constant
  for (int i = 0; i < 8 / kPairs; ++i) {
    const __mmask16 there = Whole || i * Codes::kCols < cols ? 0xffff : 0;
    const __m512i tile = _mm512_maskz_load_epi32(there, from + i * kLineBytes);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      if (kHalves<Codes>) {
        use(i, h,
            _mm512_cvtph_ps(h == 0 ? _mm512_castsi512_si256(tile)
                                   : _mm512_extracti64x4_epi64(tile, 1)));
        continue;
      }
      const __m512i dwords = _mm512_permutexvar_epi32(twice(h), tile);
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) {
        const __m512 w = Codes::kInt8 ? int8_pair(dwords, p) : int4_pair(dwords, p);
        use(i * kPairs + p, h, _mm512_mul_ps(w, s.scale[h]));
      }
    }
  }
}

}  // namespace
}  // namespace klens::cpu
