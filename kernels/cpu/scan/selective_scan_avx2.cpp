// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/scan/selective_scan.h"

namespace klens::cpu {

SelectiveScan selective_scan_avx2;

namespace {

constexpr int64_t kMaxStates = 256;

// e^(dt A) as 2^(dt a2) with a2 = A log2(e): the product enters the reduction unrounded, and the
// fraction r in [-1/2, 1/2] is exact up to one rounding. 1 + r Q(r), Q minimax of degree 5 for the
// relative error (2.6e-9); 1 at r = 0 exactly, so a slow decay has no bias. 0 below 2^-126.
inline __m256 decay(__m256 dt, __m256 a2) {
  const __m256 magic = _mm256_set1_ps(0x1.8p23f);
  const __m256 shifted = _mm256_fmadd_ps(dt, a2, magic);
  const __m256 r = _mm256_fmsub_ps(dt, a2, _mm256_sub_ps(shifted, magic));
  __m256 p = _mm256_set1_ps(0x1.470bbap-13f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5f72acp-10f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.3b270ep-7f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.c6ae72p-5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.ebfbe2p-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e432p-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  p = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  const __m256 under = _mm256_cmp_ps(shifted, _mm256_set1_ps(0x1.8p23f - 126.0f), _CMP_LT_OQ);
  return _mm256_andnot_ps(under, p);
}

// One step of one state of 8 N channels; adds h C to sum.
template <int N>
inline void step(const __m256* dt, const __m256* dt_x, float b, float c, const float* a2, float* h,
                 __m256* sum) {
  const __m256 b8 = _mm256_set1_ps(b), c8 = _mm256_set1_ps(c);
  for (int i = 0; i < N; ++i) {
    const __m256 decayed = decay(dt[i], _mm256_load_ps(a2 + 8 * i));
    const __m256 next =
        _mm256_fmadd_ps(decayed, _mm256_load_ps(h + 8 * i), _mm256_mul_ps(dt_x[i], b8));
    _mm256_store_ps(h + 8 * i, next);
    sum[i] = _mm256_fmadd_ps(next, c8, sum[i]);
  }
}

// Scans channels [c0, c0 + 8 N), N = 2 for whole cache lines, N = 1 and a mask at a range's end.
// The state and A stay in a block on the stack (L1) over all tokens. Every lane does the same
// arithmetic wherever its channel falls, so ranges do not show in the bits.
template <int N, bool Masked>
inline void scan(const SelectiveScanArgs& a, int64_t c0, __m256i mask) {
  alignas(64) float h[kMaxStates * 8 * N];
  alignas(64) float a2[kMaxStates * 8 * N];
  __m256 d[N];
  for (int i = 0; i < N; ++i) {
    const int64_t at = c0 + 8 * i;
    d[i] = load8<Masked>(a.d + at, mask);
    for (int64_t s = 0; s < a.states; ++s) {
      const __m256 as = load8<Masked>(a.a + s * a.channels + at, mask);
      _mm256_store_ps(a2 + (s * N + i) * 8, _mm256_mul_ps(as, _mm256_set1_ps(0x1.715476p+0f)));
      _mm256_store_ps(h + (s * N + i) * 8, load8<Masked>(a.state + s * a.channels + at, mask));
    }
  }
  constexpr int64_t kAhead = 8;  // rows lie in different pages, which no hardware prefetch crosses
  for (int64_t t = 0; t < a.tokens; ++t) {
    if (t + kAhead < a.tokens) {
      _mm_prefetch(a.x + (t + kAhead) * a.x_stride + c0, _MM_HINT_T0);
      _mm_prefetch(a.dt + (t + kAhead) * a.dt_stride + c0, _MM_HINT_T0);
      _mm_prefetch(a.z + (t + kAhead) * a.z_stride + c0, _MM_HINT_T0);
      _mm_prefetch(a.y + (t + kAhead) * a.y_stride + c0, _MM_HINT_T0);
    }
    __m256 dt[N], dt_x[N], even[N], odd[N];  // two sums, halving the chain over states
    for (int i = 0; i < N; ++i) {
      const __m256 x = load8<Masked>(a.x + t * a.x_stride + c0 + 8 * i, mask);
      dt[i] = load8<Masked>(a.dt + t * a.dt_stride + c0 + 8 * i, mask);
      dt_x[i] = _mm256_mul_ps(dt[i], x);
      even[i] = _mm256_mul_ps(d[i], x);
      odd[i] = _mm256_setzero_ps();
    }
    const float* b = a.b + t * a.bc_stride;
    const float* c = a.c + t * a.bc_stride;
    int64_t s = 0;
    for (; s + 2 <= a.states; s += 2) {
      const int64_t at = s * 8 * N;
      step<N>(dt, dt_x, b[s], c[s], a2 + at, h + at, even);
      step<N>(dt, dt_x, b[s + 1], c[s + 1], a2 + at + 8 * N, h + at + 8 * N, odd);
    }
    if (s < a.states) step<N>(dt, dt_x, b[s], c[s], a2 + s * 8 * N, h + s * 8 * N, even);
    for (int i = 0; i < N; ++i) {
      const __m256 z = load8<Masked>(a.z + t * a.z_stride + c0 + 8 * i, mask);
      const __m256 y = _mm256_mul_ps(_mm256_add_ps(even[i], odd[i]), silu8(z));
      store8<Masked>(a.y + t * a.y_stride + c0 + 8 * i, mask, y);
    }
  }
  for (int64_t s = 0; s < a.states; ++s)
    for (int i = 0; i < N; ++i)
      store8<Masked>(a.state + s * a.channels + c0 + 8 * i, mask,
                     _mm256_load_ps(h + (s * N + i) * 8));
}

// Decoding, one token: state and A come from far away and are used once, so they are walked row by
// row, as prefetchers like it, over blocks of channels whose sums stay in L1. The arithmetic of a
// channel is that of scan().
constexpr int64_t kBlock = 128;

struct Block {
  alignas(64) float dt_x[kBlock];
  alignas(64) float sum[2][kBlock];  // even and odd states
};

template <bool Masked>
inline void begin_one(const SelectiveScanArgs& a, int64_t c, __m256i mask, Block& block,
                      int64_t i) {
  const __m256 x = load8<Masked>(a.x + c + i, mask);
  _mm256_store_ps(block.dt_x + i, _mm256_mul_ps(load8<Masked>(a.dt + c + i, mask), x));
  _mm256_store_ps(block.sum[0] + i, _mm256_mul_ps(load8<Masked>(a.d + c + i, mask), x));
  _mm256_store_ps(block.sum[1] + i, _mm256_setzero_ps());
}

template <bool Masked>
inline void step_one(const SelectiveScanArgs& a, int64_t c, __m256i mask, Block& block, int64_t i,
                     int64_t s) {
  const int64_t at = s * a.channels + c + i;
  const __m256 a2 = _mm256_mul_ps(load8<Masked>(a.a + at, mask), _mm256_set1_ps(0x1.715476p+0f));
  const __m256 decayed = decay(load8<Masked>(a.dt + c + i, mask), a2);
  const __m256 input = _mm256_mul_ps(_mm256_load_ps(block.dt_x + i), _mm256_set1_ps(a.b[s]));
  const __m256 next = _mm256_fmadd_ps(decayed, load8<Masked>(a.state + at, mask), input);
  store8<Masked>(a.state + at, mask, next);
  float* sum = block.sum[s % 2] + i;
  _mm256_store_ps(sum, _mm256_fmadd_ps(next, _mm256_set1_ps(a.c[s]), _mm256_load_ps(sum)));
}

template <bool Masked>
inline void end_one(const SelectiveScanArgs& a, int64_t c, __m256i mask, const Block& block,
                    int64_t i) {
  const __m256 sum =
      _mm256_add_ps(_mm256_load_ps(block.sum[0] + i), _mm256_load_ps(block.sum[1] + i));
  store8<Masked>(a.y + c + i, mask, _mm256_mul_ps(sum, silu8(load8<Masked>(a.z + c + i, mask))));
}

inline void scan_one(const SelectiveScanArgs& a, int64_t c, int64_t count) {
  Block block;
  const int64_t full = count / 8 * 8;
  const __m256i all = first_lanes(8), rest = first_lanes(count - full);
  for (int64_t i = 0; i < full; i += 8) begin_one<false>(a, c, all, block, i);
  if (full < count) begin_one<true>(a, c, rest, block, full);
  for (int64_t s = 0; s < a.states; ++s) {
    for (int64_t i = 0; i < full; i += 8) step_one<false>(a, c, all, block, i, s);
    if (full < count) step_one<true>(a, c, rest, block, full, s);
  }
  for (int64_t i = 0; i < full; i += 8) end_one<false>(a, c, all, block, i);
  if (full < count) end_one<true>(a, c, rest, block, full);
}

}  // namespace

void selective_scan_avx2(const SelectiveScanArgs& a) {
  if (a.tokens == 1) {
    for (int64_t c = a.channel_begin; c < a.channel_end; c += kBlock)
      scan_one(a, c, a.channel_end - c < kBlock ? a.channel_end - c : kBlock);
    return;
  }
  int64_t c = a.channel_begin;
  for (; c + 16 <= a.channel_end; c += 16) scan<2, false>(a, c, first_lanes(8));
  for (; c + 8 <= a.channel_end; c += 8) scan<1, false>(a, c, first_lanes(8));
  if (c < a.channel_end) scan<1, true>(a, c, first_lanes(a.channel_end - c));
}

}  // namespace klens::cpu
