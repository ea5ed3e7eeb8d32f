#include "kernels/cpu/scan/ssd_scan.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

// kSteep: sums of dt A so large within a chunk that only FP64 keeps the digits of later ones.
enum class Decay { kMixed, kNone, kTotal, kSteep };

struct Shape {
  int64_t tokens, heads, head_dim, groups, states;
};

struct Case {
  Shape s;
  int64_t x_stride, dt_stride, bc_stride;
  bool rounded = false;
  Buffer<float> x, dt, b, c, a, d, state, untouched;

  Case(const Shape& shape, Decay decay, Rng& rng)
      : s(shape),
        x_stride(s.heads * s.head_dim + 3),
        dt_stride(s.heads + 2),
        bc_stride(2 * s.groups * s.states + 1),
        x(strided(s.tokens, s.heads * s.head_dim, x_stride), 1),
        dt(strided(s.tokens, s.heads, dt_stride), 2),
        b(strided(s.tokens, s.groups * s.states, bc_stride), 1),
        c(strided(s.tokens, s.groups * s.states, bc_stride), 2),
        a(s.heads, 1),
        d(s.heads, 1),
        state(s.heads * s.states * s.head_dim, 3),
        untouched(x.size(), 2) {
    fill_uniform(x, rng, -2, 2);
    fill_uniform(b, rng, -1, 1);
    fill_uniform(c, rng, -1, 1);
    fill_uniform(d, rng, -1, 1);
    fill_uniform(state, rng, -2, 2);
    for (int64_t i = 0; i < dt.size(); ++i) {
      dt[i] = std::exp(uniform(rng, -7, 0));
      if (decay == Decay::kSteep) dt[i] = i / dt_stride % 16 == 3 ? 1e6f : 0.01f;
      if (uniform_int(rng, 0, 20) == 0) dt[i] = 0;
    }
    for (int64_t i = 0; i < s.heads; ++i) {
      a[i] = -std::exp(uniform(rng, -2, 3));
      if (decay == Decay::kNone) a[i] = -1e-6f;
      if (decay == Decay::kTotal) a[i] = -1e6f;
    }
    untouched.fill(kPoison);
  }

  SsdScanArgs args(const Buffer<float>& y, const Buffer<float>& h) const {
    return {x.data(),   x_stride, dt.data(), dt_stride, b.data(), c.data(), bc_stride,
            a.data(),   d.data(), h.data(),  y.data(),  x_stride, s.tokens, s.heads,
            s.head_dim, s.groups, s.states,  0,         s.heads,  nullptr,  rounded};
  }
};

void run(const Variant<SsdScan>& v, SsdScanArgs a) {
  Buffer<float> work(ssd_scan_work(a), 1);
  work.fill(kPoison);
  a.work = work.data();
  v.run(a);
}

// From token t on, `count` of them.
SsdScanArgs tokens_of(SsdScanArgs a, int64_t t, int64_t count) {
  a.x += t * a.x_stride;
  a.dt += t * a.dt_stride;
  a.b += t * a.bc_stride;
  a.c += t * a.bc_stride;
  a.y += t * a.y_stride;
  a.tokens = count;
  return a;
}

// The recurrence on absolute values, from which the bounds of y and of the state follow.
struct Magnitudes {
  std::vector<double> state, y;
};

Magnitudes magnitudes(const Case& k) {
  const Shape& s = k.s;
  Magnitudes m;
  m.y.resize(static_cast<size_t>(k.x.size()));
  for (int64_t i = 0; i < k.state.size(); ++i) m.state.push_back(std::fabs(k.state[i]));
  for (int64_t t = 0; t < s.tokens; ++t)
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t bc = t * k.bc_stride + h / (s.heads / s.groups) * s.states;
      const double dt = k.dt[t * k.dt_stride + h], decay = std::exp(dt * k.a[h]);
      for (int64_t p = 0; p < s.head_dim; ++p) {
        const int64_t at = t * k.x_stride + h * s.head_dim + p;
        double sum = std::fabs(double{k.x[at]} * k.d[h]);
        for (int64_t n = 0; n < s.states; ++n) {
          double& state = m.state[static_cast<size_t>((h * s.states + n) * s.head_dim + p)];
          state = decay * state + std::fabs(dt * k.b[bc + n] * k.x[at]);
          sum += state * std::fabs(k.c[bc + n]);
        }
        m.y[static_cast<size_t>(at)] = sum;
      }
    }
  return m;
}

// A quarter of the promise, which is generous: a wrong digit should show. Of what rounding costs,
// half.
double bound(const Case& k) {
  const double terms = static_cast<double>(k.s.states) + 72 + static_cast<double>(k.s.tokens) / 8;
  return 4 * terms * kEps + (k.rounded ? 0x1.8p-7 : 0);
}

void check_bound(const Case& k, const Magnitudes& m, const Buffer<float>& y, const Buffer<float>& h,
                 const Buffer<float>& want_y, const Buffer<float>& want_h) {
  Mismatches bad;
  for (int64_t i = 0; i < y.size(); ++i) {
    if (i % k.x_stride >= k.s.heads * k.s.head_dim) {
      bad.check(poisoned(y[i]), "wrote between rows");
      continue;
    }
    bad.near(y[i], want_y[i], bound(k) * m.y[static_cast<size_t>(i)],
             "y" + at(i / k.x_stride, i % k.x_stride));
  }
  for (int64_t i = 0; i < h.size(); ++i)
    bad.near(h[i], want_h[i], bound(k) * m.state[static_cast<size_t>(i)] + 1e-37,
             "state" + at(i / k.s.head_dim, i % k.s.head_dim));
}

void run_case(const Variant<SsdScan>& v, const Case& k) {
  INFO("tokens " << k.s.tokens << " heads " << k.s.heads << " x " << k.s.head_dim << " groups "
                 << k.s.groups << " states " << k.s.states);
  const Magnitudes m = magnitudes(k);
  Buffer<float> want = k.untouched, want_state = k.state, got = k.untouched, got_state = k.state;
  specification(ssd_scan_variants()).run(k.args(want, want_state));
  run(v, k.args(got, got_state));
  check_bound(k, m, got, got_state, want, want_state);

  // Ranges of heads: the same bits.
  Buffer<float> cut = k.untouched, cut_state = k.state;
  for (int64_t h = 0, size = 1; h < k.s.heads; h += size, size = size % 3 + 1) {
    SsdScanArgs a = k.args(cut, cut_state);
    a.head_begin = h;
    a.head_end = std::min(k.s.heads, h + size);
    run(v, a);
  }
  CHECK(cut.same_bits(got));
  CHECK(cut_state.same_bits(got_state));

  // Calls of some tokens each: the same within the bound.
  Buffer<float> part = k.untouched, part_state = k.state;
  const int64_t sizes[] = {1, 3, 7, 2, 66, 4, 30};
  for (int64_t t = 0, i = 0; t < k.s.tokens; t += sizes[i++ % 7])
    run(v, tokens_of(k.args(part, part_state), t, std::min(sizes[i % 7], k.s.tokens - t)));
  check_bound(k, m, part, part_state, want, want_state);
}

TEST_CASE("ssd_scan: rows agree with the specification", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(1);
    for (const int64_t tokens : {0, 1, 2, 4, 5, 15, 64, 65, 200})
      for (const int64_t head_dim : {7, 16, 64, 80})
        for (const int64_t groups : {1, 2})
          run_case(
              v, Case({tokens, 4, head_dim, groups, head_dim == 64 ? 5 : 16}, Decay::kMixed, rng));
    for (const int64_t states : {1, 6, 8, 64, 128})
      for (const int64_t tokens : {1, 3, 70})
        run_case(v, Case({tokens, 3, 20, 1, states}, Decay::kMixed, rng));
    run_case(v, Case({7, 6, 1, 3, 2}, Decay::kMixed, rng));
  });
}

TEST_CASE("ssd_scan: rows that round stay within what rounding costs", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(6);
    for (const int64_t tokens : {1, 12, 13, 31, 32, 77, 200})
      for (const int64_t head_dim : {7, 16, 40, 80})
        for (const int64_t states : {1, 5, 16, 128}) {
          Case k({tokens, 4, head_dim, states == 16 ? 2 : 1, states}, Decay::kMixed, rng);
          k.rounded = true;
          run_case(v, k);
        }
    for (const Decay decay : {Decay::kNone, Decay::kTotal, Decay::kSteep}) {
      Case k({200, 3, 24, 1, 16}, decay, rng);
      k.rounded = true;
      run_case(v, k);
    }
  });
}

TEST_CASE("ssd_scan: decays near 1 and 0, and both at once", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(2);
    for (const Decay decay : {Decay::kNone, Decay::kTotal, Decay::kSteep})
      for (const int64_t tokens : {1, 40, 200})
        run_case(v, Case({tokens, 3, 24, 1, 16}, decay, rng));
  });
}

// One state at 1 without input: the new state is the decay itself. The bound above would not notice
// an exponential a few places off.
TEST_CASE("ssd_scan: the decay is a precise exponential", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    constexpr int64_t kHeads = 10000;
    Rng rng(4);
    for (const int64_t tokens : {1, 16}) {
      Buffer<float> dt(tokens * kHeads), a(kHeads), state(kHeads), zeros(tokens * kHeads);
      Buffer<float> y(tokens * kHeads);
      std::vector<double> log(kHeads);
      for (int64_t h = 0; h < kHeads; ++h) {
        a[h] = -std::exp(uniform(rng, -6, 3));
        state[h] = 1;
        for (int64_t t = 0; t < tokens; ++t) {
          dt[t * kHeads + h] = std::exp(uniform(rng, -6, 1));
          log[static_cast<size_t>(h)] += double{a[h]} * double{dt[t * kHeads + h]};
        }
      }
      run(v, {zeros.data(),
              kHeads,
              dt.data(),
              kHeads,
              zeros.data(),
              zeros.data(),
              1,
              a.data(),
              zeros.data(),
              state.data(),
              y.data(),
              kHeads,
              tokens,
              kHeads,
              1,
              1,
              1,
              0,
              kHeads,
              nullptr});
      Mismatches bad;
      for (int64_t h = 0; h < kHeads; ++h) {
        const double x = log[static_cast<size_t>(h)], want = std::exp(x);
        const auto steps = static_cast<double>(tokens);
        bad.near(state[h], want, (1.5 * steps - x) * kEps * want + 1e-37,
                 "exponent " + std::to_string(x));
      }
    }
  });
}

TEST_CASE("ssd_scan: calls of whole chunks keep the bits", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(5);
    const Case k({140, 2, 24, 1, 16}, Decay::kMixed, rng);
    Buffer<float> got = k.untouched, got_state = k.state, cut = k.untouched, cut_state = k.state;
    run(v, k.args(got, got_state));
    for (int64_t t = 0; t < 140; t += 64)
      run(v, tokens_of(k.args(cut, cut_state), t, std::min<int64_t>(64, 140 - t)));
    CHECK(cut.same_bits(got));
    CHECK(cut_state.same_bits(got_state));
  });
}

TEST_CASE("ssd_scan: other heads are left alone", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    for (const int64_t tokens : {1, 6}) {
      Rng rng(3);
      const Case k({tokens, 6, 9, 2, 5}, Decay::kMixed, rng);
      Buffer<float> y = k.untouched, state = k.state;
      SsdScanArgs a = k.args(y, state);
      a.head_begin = 2;
      a.head_end = 5;
      run(v, a);
      Mismatches bad;
      for (int64_t i = 0; i < 6 * 9; ++i) {
        const bool ours = i / 9 >= 2 && i / 9 < 5;
        for (int64_t t = 0; t < tokens; ++t)
          bad.check(poisoned(y[t * k.x_stride + i]) != ours, "y");
      }
      for (int64_t i = 0; i < state.size(); ++i)
        if (i / 45 < 2 || i / 45 >= 5) bad.check(state[i] == k.state[i], "state");
    }
  });
}

}  // namespace
}  // namespace klens::cpu
