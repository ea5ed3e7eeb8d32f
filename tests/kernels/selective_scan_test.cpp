#include "kernels/cpu/scan/selective_scan.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

// kSome: decays that underflow on some tokens and channels beside others that do not.
enum class Decay { kMixed, kNone, kTotal, kSome };

struct Case {
  int64_t tokens, channels, states;
  int64_t stride, bc_stride;
  Buffer<float> x, dt, z, b, c, a, d, state, untouched;

  Case(int64_t t, int64_t ch, int64_t s, Decay decay, Rng& rng)
      : tokens(t),
        channels(ch),
        states(s),
        stride(ch + 3),
        bc_stride(2 * s + 1),
        x(strided(t, ch, stride), 1),
        dt(strided(t, ch, stride), 2),
        z(strided(t, ch, stride), 3),
        b(strided(t, s, bc_stride), 1),
        c(strided(t, s, bc_stride), 2),
        a(s * ch, 1),
        d(ch, 1),
        state(s * ch, 3),
        untouched(strided(t, ch, stride), 1) {
    fill_uniform(x, rng, -2, 2);
    fill_uniform(z, rng, -4, 4);
    fill_uniform(b, rng, -1, 1);
    fill_uniform(c, rng, -1, 1);
    fill_uniform(d, rng, -1, 1);
    fill_uniform(state, rng, -2, 2);
    for (int64_t i = 0; i < dt.size(); ++i) dt[i] = std::exp(uniform(rng, -7, 0));
    if (decay == Decay::kSome)
      for (int64_t i = 0; i < dt.size(); i += 37) dt[i] = 60;
    for (int64_t i = 0; i < a.size(); ++i) {
      a[i] = -std::exp(uniform(rng, -2, 3));
      if (decay == Decay::kNone) a[i] = -1e-6f;
      if (decay == Decay::kTotal) a[i] = -1e6f;
    }
    untouched.fill(kPoison);
  }

  SelectiveScanArgs args(const Buffer<float>& y, const Buffer<float>& s) const {
    return {x.data(), stride,    dt.data(), stride,   z.data(), stride,   b.data(),
            c.data(), bc_stride, a.data(),  d.data(), s.data(), y.data(), stride,
            tokens,   channels,  states,    0,        channels};
  }
};

// The bound of the header: the recurrence on absolute values, with the number of steps at its most.
void check_bound(const Case& k, const Buffer<float>& got, const Buffer<float>& want) {
  Mismatches bad;
  std::vector<double> h(static_cast<size_t>(k.states * k.channels));
  for (size_t i = 0; i < h.size(); ++i) h[i] = std::fabs(k.state[static_cast<int64_t>(i)]);
  for (int64_t t = 0; t < k.tokens; ++t)
    for (int64_t i = 0; i < k.stride && t * k.stride + i < got.size(); ++i) {
      const int64_t at = t * k.stride + i;
      if (i >= k.channels) {
        bad.check(poisoned(got[at]), "wrote between rows");
        continue;
      }
      const double x = k.x[at], dt = k.dt[at], z = k.z[at];
      double sum = std::fabs(x * k.d[i]);
      for (int64_t s = 0; s < k.states; ++s) {
        double& hs = h[static_cast<size_t>(s * k.channels + i)];
        hs = std::exp(dt * k.a[s * k.channels + i]) * hs +
             std::fabs(dt * x * k.b[t * k.bc_stride + s]);
        sum += hs * std::fabs(k.c[t * k.bc_stride + s]) * (1 + std::min<double>(64, t + 1.0));
      }
      const double silu = std::fabs(z / (1 + std::exp(-z)));
      // A quarter of the promise, which is generous: a wrong digit should show.
      const double bound = 2 * static_cast<double>(k.states + 8) * kEps * sum * silu;
      bad.near(got[at], want[at], bound, testing::at(t, i));
    }
}

void run_case(const Variant<SelectiveScan>& v, const Case& k) {
  INFO("tokens " << k.tokens << " channels " << k.channels << " states " << k.states);
  Buffer<float> want = k.untouched, want_state = k.state, got = k.untouched, got_state = k.state;
  specification(selective_scan_variants()).run(k.args(want, want_state));
  v.run(k.args(got, got_state));
  check_bound(k, got, want);
  {
    Mismatches bad;
    for (int64_t i = 0; i < got_state.size(); ++i)
      bad.near(got_state[i], want_state[i], 1e-4 * (1 + std::fabs(double{want_state[i]})), "state");
  }

  // Cut into calls, channel ranges, and in place: the same bits.
  Buffer<float> cut = k.x, cut_state = k.state;
  const int64_t steps[] = {1, 3, 2, 7, 4};
  int s = 0;
  for (int64_t c0 = 0; c0 < k.channels;) {
    const int64_t c1 = std::min(k.channels, c0 + 8 * steps[s % 5] + s % 3);
    for (int64_t t = 0; t < k.tokens;) {
      SelectiveScanArgs a = k.args(cut, cut_state);
      a.x = cut.data() + t * k.stride;
      a.y = cut.data() + t * k.stride;
      a.dt += t * k.stride;
      a.z += t * k.stride;
      a.b += t * k.bc_stride;
      a.c += t * k.bc_stride;
      a.tokens = std::min(k.tokens - t, steps[s++ % 5]);
      a.channel_begin = c0;
      a.channel_end = c1;
      v.run(a);
      t += a.tokens;
    }
    c0 = c1;
    ++s;
  }
  CHECK(cut_state.same_bits(got_state));
  Mismatches bad;
  for (int64_t t = 0; t < k.tokens; ++t)
    for (int64_t i = 0; i < k.channels; ++i) {
      const int64_t at = t * k.stride + i;
      bad.check(std::memcmp(&cut[at], &got[at], 4) == 0, "a cut shows in the bits");
    }
}

TEST_CASE("selective_scan: rows agree with the specification", "[selective_scan]") {
  for_each_variant(selective_scan_variants(), [](const Variant<SelectiveScan>& v) {
    Rng rng(1);
    for (const int64_t channels : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 80})
      for (const int64_t states : {1, 2, 3, 8, 15, 16, 17})
        for (const int64_t tokens : {0, 1, 2, 5, 13, 40})
          run_case(v, Case(tokens, channels, states, Decay::kMixed, rng));
    for (const int64_t states : {128, 255, 256})
      run_case(v, Case(5, 19, states, Decay::kMixed, rng));
    for (const int64_t channels :
         {512, 1045})  // blocks of channels, where one token goes by itself
      for (const int64_t states : {4, 6})
        run_case(v, Case(1, channels, states, Decay::kMixed, rng));
  });
}

TEST_CASE("selective_scan: decays near 1 and 0", "[selective_scan]") {
  for_each_variant(selective_scan_variants(), [](const Variant<SelectiveScan>& v) {
    Rng rng(2);
    run_case(v, Case(200, 21, 16, Decay::kNone, rng));
    run_case(v, Case(50, 21, 16, Decay::kTotal, rng));
    for (const int64_t states : {5, 16}) run_case(v, Case(90, 47, states, Decay::kSome, rng));
  });
}

// One state at 1 without input: the new state is the decay itself. The bound above would not notice
// a polynomial a few places off.
TEST_CASE("selective_scan: the decay is a precise exponential", "[selective_scan]") {
  for_each_variant(selective_scan_variants(), [](const Variant<SelectiveScan>& v) {
    constexpr int64_t kCount = 40000;
    Rng rng(4);
    Buffer<float> dt(2 * kCount), a(kCount), state(kCount), zeros(2 * kCount), y(2 * kCount);
    for (const int64_t tokens : {1, 2}) {  // rows may have a path of their own for one token
      for (int64_t i = 0; i < kCount; ++i) {
        a[i] = -std::exp(uniform(rng, -6, 3));
        dt[i] = dt[kCount + i] = std::exp(uniform(rng, -6, 2));
        state[i] = 1;
      }
      v.run({zeros.data(), kCount, dt.data(), kCount, zeros.data(), kCount, zeros.data(),
             zeros.data(), 1, a.data(), zeros.data(), state.data(), y.data(), kCount, tokens,
             kCount, 1, 0, kCount});
      Mismatches bad;
      for (int64_t i = 0; i < kCount; ++i) {
        const double x = double{dt[i]} * double{a[i]} * static_cast<double>(tokens);
        const double bound = static_cast<double>(tokens) * 1.5 - 1.2 * x;
        const double want = std::exp(x);
        bad.near(state[i], want, bound * kEps * want + 1e-37, "exponent " + std::to_string(x));
      }
    }
  });
}

TEST_CASE("selective_scan: other channels are left alone", "[selective_scan]") {
  for_each_variant(selective_scan_variants(), [](const Variant<SelectiveScan>& v) {
    Rng rng(3);
    const Case k(6, 40, 16, Decay::kMixed, rng);
    Buffer<float> y = k.untouched, state = k.state;
    SelectiveScanArgs a = k.args(y, state);
    a.channel_begin = 5;
    a.channel_end = 26;
    v.run(a);
    Mismatches bad;
    for (int64_t i = 0; i < 40; ++i) {
      const bool ours = i >= 5 && i < 26;
      for (int64_t t = 0; t < 6; ++t) bad.check(poisoned(y[t * k.stride + i]) != ours, "y");
      for (int64_t s = 0; s < 16; ++s)
        bad.check((state[s * 40 + i] == k.state[s * 40 + i]) != ours, "state");
    }
  });
}

}  // namespace
}  // namespace klens::cpu
