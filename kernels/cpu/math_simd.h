// vec_<isa>.h includes this, in whose words it is written: one source for all sets, compiled with
// the flags of each. Internal linkage throughout.
#pragma once
#include <cstdint>

namespace klens::cpu {
namespace {

// f(i, lanes) for the vectors of `count` elements: whole ones, then a tail.
template <class F>
inline void over_whole(int64_t count, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, AllLanes{});
  if (i < count) f(i, first_lanes(count - i));
}

// The same, all of them masked where that costs nothing: half the code.
template <class F>
inline void over(int64_t count, const F& f) {
  if constexpr (kMasksAreFree) {
    for (int64_t i = 0; i < count; i += kLanes) f(i, first_lanes(count - i));
  } else {
    over_whole(count, f);
  }
}

// e^x for x = n ln2 + r, |r| <= ln2 / 2: ln2 in two parts (Cody-Waite), then 1 + r + r^2 P(r) with
// P the minimax polynomial of degree 4 for the relative error of e^r (3.1e-9), scaled by adding n
// to the exponent. 0 below log of the least normal number, infinity above that of the greatest.
// exp_negative() is for x <= 0 (or a little above, from rounding), and not for NaN.
inline Vec exp_negative(Vec x) {
  const Vec magic = each(0x1.8p23f);  // x + magic has round(x) in its low bits
  const Vec shifted = multiply_add(x, each(0x1.715476p+0f), magic);
  const Vec n = subtract(shifted, magic);
  Vec r = subtract_from(n, each(0x1.62e4p-1f), x);
  r = subtract_from(n, each(0x1.7f7d1cp-20f), r);
  Vec p = each(0x1.6a241ap-10f);
  p = multiply_add(p, r, each(0x1.1239f2p-7f));
  p = multiply_add(p, r, each(0x1.5558f2p-5f));
  p = multiply_add(p, r, each(0x1.555492p-3f));
  p = multiply_add(p, r, each(0x1.fffffcp-2f));
  p = multiply_add(p, r, each(1.0f));
  p = multiply_add(p, r, each(1.0f));
  return scale_by_power(not_less(x, each(-0x1.5d589ep+6f)), p, shifted);
}

// The same for any x.
inline Vec exp_of(Vec x) {
  const Vec e = exp_negative(x);
  // Not (x <= log max) is true of NaN as well, for which x + infinity is NaN.
  return where(not_up_to(x, each(0x1.62e42ep+6f)), add(x, each(__builtin_inff())), e);
}

// v / (1 + e^-v)
inline Vec silu(Vec v) { return divide(v, add(each(1.0f), exp_of(subtract(each(0), v)))); }

// 1 / (1 + e^-v)
inline Vec sigmoid(Vec v) {
  return divide(each(1.0f), add(each(1.0f), exp_of(subtract(each(0), v))));
}

// log(1 + e^v) = max(v, 0) + log1p(w) with w = e^-|v|, and log1p(w) = 2 atanh(s), s = w / (2 + w)
// <= 1/3; atanh(s) = s + s^3 R(s^2), R minimax of degree 3 (relative error 4.5e-9). Above 20 the
// second part is less than half a last place of v, so this is PyTorch's softplus with its threshold
// of 20.
inline Vec softplus(Vec v) {
  const Vec w = exp_of(negative_magnitude(v));
  const Vec s = divide(w, add(each(2.0f), w));
  const Vec s2 = times(s, s);
  Vec p = each(0x1.1ed7bep-3f);
  p = multiply_add(p, s2, each(0x1.1ebd0ep-3f));
  p = multiply_add(p, s2, each(0x1.99d208p-3f));
  p = multiply_add(p, s2, each(0x1.555502p-2f));
  const Vec twice = add(s, s);
  const Vec log1p = multiply_add(times(twice, s2), p, twice);
  return add(greater(each(0), v), log1p);
}

// v Phi(v) = max(v, 0) - |v| Phi(-|v|), and Phi(-x) = e^(-x^2 / 2) Q(1 / (1 + 0.23 x)), Q minimax
// of degree 8 (relative error 4.7e-8 for x <= 13.3, where e^(-x^2 / 2) ends): the absolute error of
// Phi is below 2 eps. Where |v| is infinite, zero times it would not be a number.
inline Vec gelu(Vec v) {
  const Vec x = magnitude(v);
  const Vec t = divide(each(1.0f), multiply_add(x, each(0x1.d70a3ep-3f), each(1.0f)));
  Vec q = each(-0x1.412aaep-4f);
  q = multiply_add(q, t, each(0x1.29158ep-2f));
  q = multiply_add(q, t, each(-0x1.1c267ap-2f));
  q = multiply_add(q, t, each(0x1.33eb24p-2f));
  q = multiply_add(q, t, each(-0x1.0905d8p-5f));
  q = multiply_add(q, t, each(0x1.e875ccp-4f));
  q = multiply_add(q, t, each(0x1.5f9534p-4f));
  q = multiply_add(q, t, each(0x1.7a5610p-4f));
  q = multiply_add(q, t, each(-0x1.c575dep-16f));
  const Vec e = exp_of(times(times(x, x), each(-0.5f)));
  const Vec finite = lesser(each(20.0f), x);  // NaN where x is
  return subtract_from(times(finite, q), e, greater(each(0), v));
}

// max(v, 0)^2
inline Vec relu2(Vec v) {
  const Vec positive = greater(each(0), v);  // v where it is NaN
  return times(positive, positive);
}

}  // namespace
}  // namespace klens::cpu
