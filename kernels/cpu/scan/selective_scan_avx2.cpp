// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/scan/selective_scan.h"
#include "kernels/cpu/vec_avx2.h"

namespace klens::cpu {

SelectiveScan selective_scan_avx2;

namespace {

constexpr int64_t kMaxStates = 256;
constexpr float kLog2E = 0x1.715476p+0f;

// The bits of 2^(i/8), less i << 20: adding (8 n + i) << 20 makes them those of 2^(n + i/8).
alignas(32) constexpr int32_t kPowers[8] = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                                            0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};

// e^(dt A) as 2^t, t = dt2 A with dt2 = dt log2(e): 2^(k/8) by table times 1 + r Q(r), |r| <= 1/16,
// Q of degree 2 (relative error 2.6e-8), which is 1 at 0 exactly, so a slow decay has no bias. The
// product enters the reduction unrounded; and it is dt that log2(e) has rounded, not A, which would
// bend a decay the same way at every token. Of multiplications a core has least: this spends six,
// the rest are additions, integers and a permutation, which run beside them; and so does the
// maximum of integers that makes 2^t zero from 2^-127 on (a comparison would not).
inline __m256 decay(__m256 dt2, __m256 a) {
  const __m256 magic = _mm256_set1_ps(0x1.8p20f);  // t + magic has round(8 t) in its low bits
  const __m256 least = _mm256_set1_ps(0x1.8p20f - 127.0f);
  const __m256 shifted = _mm256_fmadd_ps(dt2, a, magic);
  const __m256 r = _mm256_fmsub_ps(dt2, a, _mm256_sub_ps(shifted, magic));
  const __m256i k = _mm256_max_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(least));
  const __m256i table = _mm256_load_si256(reinterpret_cast<const __m256i*>(kPowers));
  const __m256 power = _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_permutevar8x32_epi32(table, k), _mm256_slli_epi32(k, 20)));
  __m256 q = _mm256_fmadd_ps(_mm256_set1_ps(0x1.c6ba0cp-5f), r, _mm256_set1_ps(0x1.ec0c32p-3f));
  q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.62e43p-1f));
  return _mm256_fmadd_ps(_mm256_mul_ps(power, r), q, power);
}

// One step of one state of 8 N channels; adds h C to sum. `block` has their A, then h.
template <int N>
inline void step(const __m256* dt2, const __m256* dt_x, float b, float c, float* block,
                 __m256* sum) {
  const __m256 b8 = _mm256_set1_ps(b), c8 = _mm256_set1_ps(c);
  for (int i = 0; i < N; ++i) {
    float* h = block + 8 * (N + i);
    const __m256 decayed = decay(dt2[i], _mm256_load_ps(block + 8 * i));
    const __m256 next = _mm256_fmadd_ps(decayed, _mm256_load_ps(h), _mm256_mul_ps(dt_x[i], b8));
    _mm256_store_ps(h, next);
    sum[i] = _mm256_fmadd_ps(next, c8, sum[i]);
  }
}

// Scans channels [c0, c0 + 8 N), N = 2 for whole cache lines, N = 1 and a mask at a range's end.
// The state and A stay in a block on the stack (L1) over all tokens. Every lane does the same
// arithmetic wherever its channel falls, so ranges do not show in the bits.
template <int N, class L>
inline void scan(const SelectiveScanArgs& a, int64_t c0, L lanes) {
  constexpr int64_t kRow = 16 * N;
  alignas(64) float block[kMaxStates * kRow];
  __m256 d[N];
  for (int i = 0; i < N; ++i) {
    const int64_t at = c0 + 8 * i;
    d[i] = load(a.d + at, lanes);
    for (int64_t s = 0; s < a.states; ++s) {
      const __m256 as = load(a.a + s * a.channels + at, lanes);
      float* to = block + s * kRow + 8 * i;
      _mm256_store_ps(to, as);
      _mm256_store_ps(to + 8 * N, load(a.state + s * a.channels + at, lanes));
    }
  }
  constexpr int64_t kNext = 2;  // rows lie in different pages, which no hardware prefetch crosses
  for (int64_t t = 0; t < a.tokens; ++t) {
    if (t + kNext < a.tokens) {
      _mm_prefetch(a.x + (t + kNext) * a.x_stride + c0, _MM_HINT_T0);
      _mm_prefetch(a.dt + (t + kNext) * a.dt_stride + c0, _MM_HINT_T0);
      _mm_prefetch(a.z + (t + kNext) * a.z_stride + c0, _MM_HINT_T0);
      _mm_prefetch(a.y + (t + kNext) * a.y_stride + c0, _MM_HINT_T0);
    }
    __m256 dt2[N], dt_x[N], sum[N];  // dt2: dt log2(e)
    for (int i = 0; i < N; ++i) {
      const __m256 x = load(a.x + t * a.x_stride + c0 + 8 * i, lanes);
      const __m256 dt = load(a.dt + t * a.dt_stride + c0 + 8 * i, lanes);
      dt2[i] = _mm256_mul_ps(dt, _mm256_set1_ps(kLog2E));
      dt_x[i] = _mm256_mul_ps(dt, x);
      sum[i] = _mm256_mul_ps(d[i], x);
    }
    const float* b = a.b + t * a.bc_stride;
    const float* c = a.c + t * a.bc_stride;
    for (int64_t s = 0; s < a.states; ++s) step<N>(dt2, dt_x, b[s], c[s], block + s * kRow, sum);
    for (int i = 0; i < N; ++i) {
      const __m256 z = load(a.z + t * a.z_stride + c0 + 8 * i, lanes);
      const __m256 y = _mm256_mul_ps(sum[i], silu(z));
      store(a.y + t * a.y_stride + c0 + 8 * i, lanes, y);
    }
  }
  for (int64_t s = 0; s < a.states; ++s)
    for (int i = 0; i < N; ++i)
      store(a.state + s * a.channels + c0 + 8 * i, lanes,
            _mm256_load_ps(block + s * kRow + 8 * (N + i)));
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

template <class L>
inline void begin_one(const SelectiveScanArgs& a, int64_t c, L lanes, Block& block, int64_t i) {
  const __m256 x = load(a.x + c + i, lanes);
  _mm256_store_ps(block.dt_x + i, _mm256_mul_ps(load(a.dt + c + i, lanes), x));
  _mm256_store_ps(block.sum + i, _mm256_mul_ps(load(a.d + c + i, lanes), x));
}

// States [s, s + S) of eight channels.
template <int S, class L>
inline void step_one(const SelectiveScanArgs& a, int64_t s, int64_t c, L lanes, Block& block,
                     int64_t i) {
  const __m256 dt2 = _mm256_mul_ps(load(a.dt + c + i, lanes), _mm256_set1_ps(kLog2E));
  const __m256 dt_x = _mm256_load_ps(block.dt_x + i);
  __m256 sum = _mm256_load_ps(block.sum + i);
  for (int64_t j = s; j < s + S; ++j) {
    const float* a_row = a.a + j * a.channels + c + i;
    float* row = a.state + j * a.channels + c + i;
    _mm_prefetch(a_row + kAhead, _MM_HINT_T0);
    _mm_prefetch(row + kAhead, _MM_HINT_T0);
    const __m256 as = load(a_row, lanes);
    const __m256 input = _mm256_mul_ps(dt_x, _mm256_set1_ps(a.b[j]));
    const __m256 next = _mm256_fmadd_ps(decay(dt2, as), load(row, lanes), input);
    store(row, lanes, next);
    sum = _mm256_fmadd_ps(next, _mm256_set1_ps(a.c[j]), sum);
  }
  _mm256_store_ps(block.sum + i, sum);
}

template <class L>
inline void end_one(const SelectiveScanArgs& a, int64_t c, L lanes, const Block& block, int64_t i) {
  const __m256 gate = silu(load(a.z + c + i, lanes));
  store(a.y + c + i, lanes, _mm256_mul_ps(_mm256_load_ps(block.sum + i), gate));
}

template <int S>
inline void step_rows(const SelectiveScanArgs& a, int64_t s, int64_t c, int64_t count,
                      Block& block) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) step_one<S>(a, s, c, AllLanes{}, block, i);
  if (i < count) step_one<S>(a, s, c, first_lanes(count - i), block, i);
}

inline void scan_one(const SelectiveScanArgs& a, int64_t c, int64_t count) {
  Block block;
  const int64_t full = count / 8 * 8;
  const Lanes rest = first_lanes(count - full);
  for (int64_t i = 0; i < full; i += 8) begin_one(a, c, AllLanes{}, block, i);
  if (full < count) begin_one(a, c, rest, block, full);
  int64_t s = 0;
  for (; s + 4 <= a.states; s += 4) step_rows<4>(a, s, c, count, block);
  for (; s < a.states; ++s) step_rows<1>(a, s, c, count, block);
  for (int64_t i = 0; i < full; i += 8) end_one(a, c, AllLanes{}, block, i);
  if (full < count) end_one(a, c, rest, block, full);
}

}  // namespace

void selective_scan_avx2(const SelectiveScanArgs& a) {
  if (a.tokens == 1) {
    for (int64_t c = a.channel_begin; c < a.channel_end; c += kBlock)
      scan_one(a, c, a.channel_end - c < kBlock ? a.channel_end - c : kBlock);
    return;
  }
  int64_t c = a.channel_begin;
  for (; c + 16 <= a.channel_end; c += 16) scan<2>(a, c, AllLanes{});
  for (; c + 8 <= a.channel_end; c += 8) scan<1>(a, c, AllLanes{});
  if (c < a.channel_end) scan<1>(a, c, first_lanes(a.channel_end - c));
}

}  // namespace klens::cpu
