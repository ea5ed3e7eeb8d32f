// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/scan/selective_scan.h"
#include "kernels/cpu/vec_avx512.h"

namespace klens::cpu {

SelectiveScan selective_scan_avx512;

namespace {

constexpr int64_t kMaxStates = 256;
constexpr float kLog2E = 0x1.715476p+0f;

// The bits of 2^(i/16), less i << 19: adding (16 n + i) << 19 makes them those of 2^(n + i/16).
alignas(64) constexpr int32_t kPowers[16] = {
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};

// 2^(k/16 + r) for the k in the low bits of `shifted` and |r| <= 1/32: by table, and 1 + r Q(r)
// with a relative error of 1.7e-9. It is 1 at 0 exactly, so a slow decay has no bias.
inline __m512 power_of_two(__m512i shifted, __m512 r, __m512i table) {
  const __m512 scale = _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_permutexvar_epi32(shifted, table), _mm512_slli_epi32(shifted, 19)));
  __m512 q = _mm512_fmadd_ps(_mm512_set1_ps(0x1.c6b2ecp-5f), r, _mm512_set1_ps(0x1.ebfff4p-3f));
  q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0x1.62e43p-1f));
  return _mm512_fmadd_ps(_mm512_mul_ps(scale, r), q, scale);
}

// e^(dt A) for dt2 = dt log2(e). Multiplications are what a core has least of: this spends six, the
// rest are additions, integers and a permutation, which run beside them. The product enters the
// reduction unrounded; and it is dt that log2(e) has rounded, not A, which would bend a decay the
// same way at every token. Where 2^t may be less than 2^-126, `Clamp` makes it zero from 2^-127 on.
template <bool Clamp>
inline __m512 decay(__m512 dt2, __m512 a, __m512i table) {
  const __m512 magic = _mm512_set1_ps(0x1.8p19f);  // t + magic has round(16 t) in its low bits
  const __m512 shifted = _mm512_fmadd_ps(dt2, a, magic);
  const __m512 r = _mm512_fmsub_ps(dt2, a, _mm512_sub_ps(shifted, magic));
  __m512i k = _mm512_castps_si512(shifted);
  if (Clamp) k = _mm512_max_epi32(k, _mm512_castps_si512(_mm512_set1_ps(0x1.8p19f - 127.0f)));
  return power_of_two(k, r, table);
}

// One step of one state of 16 channels; adds h C to sum.
template <bool Clamp>
inline __m512 step(__m512 dt2, __m512 dt_x, const float* b, const float* c, __m512 a, __m512& h,
                   __m512i table, __m512 sum) {
  const __m512 input = _mm512_mul_ps(dt_x, _mm512_set1_ps(*b));
  h = _mm512_fmadd_ps(decay<Clamp>(dt2, a, table), h, input);
  return _mm512_fmadd_ps(h, _mm512_set1_ps(*c), sum);
}

// One token of 16 channels.
struct Inputs {
  __m512 x, dt2, dt_x, sum;  // dt2: dt log2(e)
  const float *b, *c;
};

inline Inputs begin(const SelectiveScanArgs& a, int64_t t, int64_t c0, __mmask16 mask, __m512 d) {
  constexpr int64_t kNext = 2;  // rows lie in different pages, which no hardware prefetch crosses
  if (t + kNext < a.tokens) {
    _mm_prefetch(a.x + (t + kNext) * a.x_stride + c0, _MM_HINT_T0);
    _mm_prefetch(a.dt + (t + kNext) * a.dt_stride + c0, _MM_HINT_T0);
    _mm_prefetch(a.z + (t + kNext) * a.z_stride + c0, _MM_HINT_T0);
    _mm_prefetch(a.y + (t + kNext) * a.y_stride + c0, _MM_HINT_T0);
  }
  Inputs in;
  in.x = load(a.x + t * a.x_stride + c0, mask);
  const __m512 dt = load(a.dt + t * a.dt_stride + c0, mask);
  in.dt2 = _mm512_mul_ps(dt, _mm512_set1_ps(kLog2E));
  in.dt_x = _mm512_mul_ps(dt, in.x);
  in.sum = _mm512_mul_ps(d, in.x);
  in.b = a.b + t * a.bc_stride;
  in.c = a.c + t * a.bc_stride;
  return in;
}

inline void end(const SelectiveScanArgs& a, int64_t t, int64_t c0, __mmask16 mask, __m512 sum) {
  const __m512 gate = silu(load(a.z + t * a.z_stride + c0, mask));
  store(a.y + t * a.y_stride + c0, mask, _mm512_mul_ps(sum, gate));
}

// A of 16 channels, or those left; the steepest of each.
inline __m512 gather_a(const SelectiveScanArgs& a, int64_t c0, __mmask16 mask, float* rows) {
  __m512 steepest = _mm512_setzero_ps();
  for (int64_t s = 0; s < a.states; ++s) {
    const __m512 as = load(a.a + s * a.channels + c0, mask);
    _mm512_store_ps(rows + 16 * s, as);
    steepest = _mm512_min_ps(steepest, as);
  }
  return steepest;
}

// Four states in registers: named, for compilers leave an array in memory.
struct Four {
  __m512 h0, h1, h2, h3;
};

inline Four load_four(const float* p, int64_t stride, __mmask16 mask) {
  return {load(p, mask), load(p + stride, mask), load(p + 2 * stride, mask),
          load(p + 3 * stride, mask)};
}

inline void store_four(float* p, int64_t stride, __mmask16 mask, const Four& h) {
  store(p, mask, h.h0);
  store(p + stride, mask, h.h1);
  store(p + 2 * stride, mask, h.h2);
  store(p + 3 * stride, mask, h.h3);
}

template <bool Clamp>
inline void step_four(Inputs& in, const float* rows, int64_t s, Four& h, __m512i table) {
  const float *b = in.b + s, *c = in.c + s;
  const __m512* a4 = reinterpret_cast<const __m512*>(rows + 16 * s);
  in.sum = step<Clamp>(in.dt2, in.dt_x, b, c, a4[0], h.h0, table, in.sum);
  in.sum = step<Clamp>(in.dt2, in.dt_x, b + 1, c + 1, a4[1], h.h1, table, in.sum);
  in.sum = step<Clamp>(in.dt2, in.dt_x, b + 2, c + 2, a4[2], h.h2, table, in.sum);
  in.sum = step<Clamp>(in.dt2, in.dt_x, b + 3, c + 3, a4[3], h.h3, table, in.sum);
}

// Scans 16 channels, or those left, of 16 states, Mamba's number: they stay in registers over all
// tokens, as stores would take turns with the multipliers.
inline void scan16(const SelectiveScanArgs& a, int64_t c0, __mmask16 mask) {
  alignas(64) float rows[16 * 16];
  const __m512 steepest = gather_a(a, c0, mask, rows);
  const __m512i table = _mm512_load_si512(kPowers);
  const __m512 d = load(a.d + c0, mask);
  float* state = a.state + c0;
  Four h0 = load_four(state, a.channels, mask);
  Four h4 = load_four(state + 4 * a.channels, a.channels, mask);
  Four h8 = load_four(state + 8 * a.channels, a.channels, mask);
  Four h12 = load_four(state + 12 * a.channels, a.channels, mask);
  for (int64_t t = 0; t < a.tokens; ++t) {
    Inputs in = begin(a, t, c0, mask, d);
    const __m512 least = _mm512_mul_ps(in.dt2, steepest);
    if (_mm512_cmp_ps_mask(least, _mm512_set1_ps(-126.0f), _CMP_GE_OQ) == 0xffff) {
      step_four<false>(in, rows, 0, h0, table);
      step_four<false>(in, rows, 4, h4, table);
      step_four<false>(in, rows, 8, h8, table);
      step_four<false>(in, rows, 12, h12, table);
    } else {
      step_four<true>(in, rows, 0, h0, table);
      step_four<true>(in, rows, 4, h4, table);
      step_four<true>(in, rows, 8, h8, table);
      step_four<true>(in, rows, 12, h12, table);
    }
    end(a, t, c0, mask, in.sum);
  }
  store_four(state, a.channels, mask, h0);
  store_four(state + 4 * a.channels, a.channels, mask, h4);
  store_four(state + 8 * a.channels, a.channels, mask, h8);
  store_four(state + 12 * a.channels, a.channels, mask, h12);
}

// Any number of states, which stay in L1. Every lane does the same arithmetic wherever its channel
// falls, so ranges do not show in the bits.
inline void scan(const SelectiveScanArgs& a, int64_t c0, __mmask16 mask) {
  alignas(64) float rows[kMaxStates * 16];
  alignas(64) float state[kMaxStates * 16];
  gather_a(a, c0, mask, rows);
  for (int64_t s = 0; s < a.states; ++s)
    _mm512_store_ps(state + 16 * s, load(a.state + s * a.channels + c0, mask));
  const __m512i table = _mm512_load_si512(kPowers);
  const __m512 d = load(a.d + c0, mask);
  for (int64_t t = 0; t < a.tokens; ++t) {
    Inputs in = begin(a, t, c0, mask, d);
    for (int64_t s = 0; s < a.states; ++s) {
      __m512 h = _mm512_load_ps(state + 16 * s);
      in.sum = step<true>(in.dt2, in.dt_x, in.b + s, in.c + s, _mm512_load_ps(rows + 16 * s), h,
                          table, in.sum);
      _mm512_store_ps(state + 16 * s, h);
    }
    end(a, t, c0, mask, in.sum);
  }
  for (int64_t s = 0; s < a.states; ++s)
    store(a.state + s * a.channels + c0, mask, _mm512_load_ps(state + 16 * s));
}

// Decoding, one token: state and A come from far away and are used once, so they are walked row by
// row, as prefetchers like it, over blocks of channels whose sums stay in L1. The arithmetic of a
// channel is that of scan().
constexpr int64_t kBlock = 512;

constexpr int64_t kAhead = 64;  // channels

struct Block {
  alignas(64) float dt_x[kBlock];
  alignas(64) float sum[kBlock];
};

// States [s, s + S) of channels [c, c + count).
template <int S>
inline void step_rows(const SelectiveScanArgs& a, int64_t s, int64_t c, int64_t count,
                      Block& block) {
  const __m512i table = _mm512_load_si512(kPowers);
  const float* a_rows = a.a + s * a.channels + c;
  float* state = a.state + s * a.channels + c;
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(count - i);
    const __m512 dt2 = _mm512_mul_ps(load(a.dt + c + i, mask), _mm512_set1_ps(kLog2E));
    const __m512 dt_x = _mm512_load_ps(block.dt_x + i);
    __m512 sum = _mm512_load_ps(block.sum + i);
    for (int j = 0; j < S; ++j) {
      const float* a_row = a_rows + j * a.channels + i;
      float* row = state + j * a.channels + i;
      _mm_prefetch(a_row + kAhead, _MM_HINT_T0);
      _mm_prefetch(row + kAhead, _MM_HINT_T0);
      __m512 h = load(row, mask);
      sum = step<true>(dt2, dt_x, a.b + s + j, a.c + s + j, load(a_row, mask), h, table, sum);
      store(row, mask, h);
    }
    _mm512_store_ps(block.sum + i, sum);
  }
}

inline void scan_one(const SelectiveScanArgs& a, int64_t c, int64_t count) {
  Block block;
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(count - i);
    const __m512 x = load(a.x + c + i, mask);
    _mm512_store_ps(block.dt_x + i, _mm512_mul_ps(load(a.dt + c + i, mask), x));
    _mm512_store_ps(block.sum + i, _mm512_mul_ps(load(a.d + c + i, mask), x));
  }
  int64_t s = 0;
  for (; s + 4 <= a.states; s += 4) step_rows<4>(a, s, c, count, block);
  for (; s < a.states; ++s) step_rows<1>(a, s, c, count, block);
  for (int64_t i = 0; i < count; i += 16)
    end(a, 0, c + i, first_lanes(count - i), _mm512_load_ps(block.sum + i));
}

}  // namespace

void selective_scan_avx512(const SelectiveScanArgs& a) {
  if (a.tokens == 1) {
    for (int64_t c = a.channel_begin; c < a.channel_end; c += kBlock)
      scan_one(a, c, a.channel_end - c < kBlock ? a.channel_end - c : kBlock);
    return;
  }
  for (int64_t c = a.channel_begin; c < a.channel_end; c += 16) {
    const __mmask16 mask = first_lanes(a.channel_end - c);
    if (a.states == 16) {
      scan16(a, c, mask);
    } else {
      scan(a, c, mask);
    }
  }
}

}  // namespace klens::cpu
