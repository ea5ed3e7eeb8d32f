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

constexpr int64_t kPosition = 5;  // of the first token

// What calls read and write.
struct Outcome {
  Buffer<float> y, state, pending;
  Buffer<uint16_t> half;  // the state, where it is FP16

  bool same_bits(const Outcome& other) const {
    return y.same_bits(other.y) && state.same_bits(other.state) &&
           pending.same_bits(other.pending) && half.same_bits(other.half);
  }
};

struct Case {
  Shape s;
  int64_t x_stride, dt_stride, bc_stride;
  bool rounded = false;
  bool half = false;
  int64_t position = kPosition;
  Buffer<float> x, dt, b, c, a, d, state, untouched;
  int64_t pending_size;

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
        untouched(x.size(), 2),
        pending_size(ssd_pending_size(s.heads, s.head_dim, s.groups, s.states)) {
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

  Outcome fresh() const {
    Outcome to{untouched, state, Buffer<float>(pending_size), Buffer<uint16_t>(state.size(), 1)};
    for (int64_t i = 0; i < state.size(); ++i) to.half[i] = f32_to_f16(state[i]);
    return to;
  }

  // The same with an FP16 state; this one's, too, begins with numbers that FP16 has.
  Case halved() {
    for (int64_t i = 0; i < state.size(); ++i) state[i] = f16_to_f32(f32_to_f16(state[i]));
    Case k = *this;
    k.half = true;
    return k;
  }

  SsdScanArgs args(const Outcome& to) const {
    return {.x = x.data(),
            .x_stride = x_stride,
            .dt = dt.data(),
            .dt_stride = dt_stride,
            .b = b.data(),
            .c = c.data(),
            .bc_stride = bc_stride,
            .a = a.data(),
            .d = d.data(),
            .state = half ? nullptr : to.state.data(),
            .half_state = half ? to.half.data() : nullptr,
            .pending = ssd_pending_at(to.pending.data(), s.heads, s.head_dim, s.groups, s.states),
            .position = position,
            .y = to.y.data(),
            .y_stride = x_stride,
            .tokens = s.tokens,
            .heads = s.heads,
            .head_dim = s.head_dim,
            .groups = s.groups,
            .states = s.states,
            .head_begin = 0,
            .head_end = s.heads,
            .work = nullptr,
            .rounded = rounded};
  }
};

void run(const Variant<SsdScan>& v, SsdScanArgs a) {
  Buffer<float> work(ssd_scan_work(a), 1);
  work.fill(kPoison);
  a.work = work.data();
  if (a.tokens == 1) ssd_keep_b(a);
  v.run(a);
}

// Whether other ranges of heads begin with the last of them.
enum class Order { kForth, kBack };

// The same call, some heads at a time.
void run_in_ranges(const Variant<SsdScan>& v, SsdScanArgs a, Order order) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (int64_t h = 0, size = 1; h < a.heads; h += size, size = size % 3 + 1)
    ranges.emplace_back(h, std::min(a.heads, h + size));
  if (order == Order::kBack) std::reverse(ranges.begin(), ranges.end());
  for (const auto& [begin, end] : ranges) {
    a.head_begin = begin;
    a.head_end = end;
    run(v, a);
  }
}

// The state takes up what is pending.
void settle(const Variant<SsdScan>& v, const Case& k, const Outcome& outcome) {
  run(v, ssd_part(k.args(outcome), 0, 0));
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

// writes: how often an FP16 state was written.
void check_bound(const Case& k, const Magnitudes& m, const Outcome& got, const Outcome& want,
                 int64_t writes = 0) {
  const Buffer<float>&y = got.y, &h = got.state, &want_y = want.y, &want_h = want.state;
  const double limit = bound(k) + static_cast<double>(writes) * 0x1p-11;
  if (k.half)
    for (int64_t i = 0; i < h.size(); ++i) h[i] = f16_to_f32(got.half[i]);
  Mismatches bad;
  for (int64_t i = 0; i < y.size(); ++i) {
    if (i % k.x_stride >= k.s.heads * k.s.head_dim) {
      bad.check(poisoned(y[i]), "wrote between rows");
      continue;
    }
    bad.near(y[i], want_y[i], limit * m.y[static_cast<size_t>(i)],
             "y" + at(i / k.x_stride, i % k.x_stride));
  }
  for (int64_t i = 0; i < h.size(); ++i)
    bad.near(h[i], want_h[i], limit * m.state[static_cast<size_t>(i)] + (k.half ? 1e-7 : 1e-37),
             "state" + at(i / k.s.head_dim, i % k.s.head_dim));
}

void run_case(const Variant<SsdScan>& v, const Case& k) {
  INFO("tokens " << k.s.tokens << " heads " << k.s.heads << " x " << k.s.head_dim << " groups "
                 << k.s.groups << " states " << k.s.states);
  const Magnitudes m = magnitudes(k);
  const Variant<SsdScan>& scalar = specification(ssd_scan_variants());
  const Outcome want = k.fresh(), got = k.fresh(), cut = k.fresh(), part = k.fresh();
  run(scalar, k.args(want));
  run(v, k.args(got));
  run_in_ranges(v, k.args(cut), Order::kForth);
  CHECK(cut.same_bits(got));
  settle(scalar, k, want);
  settle(v, k, got);
  check_bound(k, m, got, want);

  // Calls of some tokens each: the same within the bound.
  const int64_t sizes[] = {1, 1, 3, 7, 1, 2, 66, 4, 30};
  for (int64_t t = 0, i = 0; t < k.s.tokens; t += sizes[i++ % 9])
    run(v, ssd_part(k.args(part), t, std::min(sizes[i % 9], k.s.tokens - t)));
  settle(v, k, part);
  check_bound(k, m, part, want);
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
    // Any two of the three meet.
    Turns<4> all_states{{1, 5, 16, 128}};
    for (const int64_t tokens : {1, 12, 13, 28, 31, 32, 60, 77, 200}) {  // 28, 60: one in a chunk
      for (const int64_t head_dim : {7, 16, 40, 80}) {
        const int64_t states = all_states();
        Case k({tokens, 4, head_dim, states == 16 ? 2 : 1, states}, Decay::kMixed, rng);
        k.rounded = true;
        run_case(v, k);
      }
      ++all_states.next;
    }
    for (const Decay decay : {Decay::kNone, Decay::kTotal, Decay::kSteep}) {
      Case k({200, 3, 24, 1, 16}, decay, rng);
      k.rounded = true;
      run_case(v, k);
    }
  });
}

// Two tokens and more go by the recurrence in the specification, so this holds its tokens alone
// too.
TEST_CASE("ssd_scan: tokens that come alone", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(7);
    const Decay decays[] = {Decay::kMixed, Decay::kNone, Decay::kTotal};
    size_t turn = 0;
    for (const int64_t head_dim : {7, 16, 64, 80, 150})
      for (const int64_t states : {1, 5, 16, 40}) {
        const Decay decay = decays[turn++ % 3];
        const Case k({3 * kSsdPending + 2, 10, head_dim, states == 16 ? 5 : 1, states}, decay, rng);
        INFO("heads of " << head_dim << ", states " << states);
        const Outcome want = k.fresh(), got = k.fresh(), back = k.fresh();
        run(specification(ssd_scan_variants()), k.args(want));
        for (int64_t t = 0; t < k.s.tokens; ++t) {
          run_in_ranges(v, ssd_part(k.args(got), t, 1), Order::kForth);
          run_in_ranges(v, ssd_part(k.args(back), t, 1), Order::kBack);
        }
        CHECK(back.same_bits(got));
        settle(v, k, got);
        check_bound(k, magnitudes(k), got, want);
      }
  });
}

TEST_CASE("ssd_scan: FP16 states", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(9);
    for (const int64_t head_dim : {7, 16, 64, 90})
      for (const int64_t states : {1, 5, 16, 40})
        for (const bool rounded : {false, true}) {
          Case full({66, 5, head_dim, 1, states}, Decay::kMixed, rng);
          full.rounded = rounded;
          const Case k = full.halved();
          INFO("heads of " << head_dim << ", states " << states);
          const Outcome want = full.fresh(), got = k.fresh(), back = k.fresh();
          run(specification(ssd_scan_variants()), full.args(want));
          const int64_t sizes[] = {1, 1, 1, 40, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 13};
          for (int64_t t = 0, i = 0; t < k.s.tokens; t += sizes[i++]) {
            run_in_ranges(v, ssd_part(k.args(got), t, sizes[i]), Order::kForth);
            run_in_ranges(v, ssd_part(k.args(back), t, sizes[i]), Order::kBack);
          }
          CHECK(back.same_bits(got));
          settle(v, k, got);
          check_bound(k, magnitudes(k), got, want, 6);
        }
  });
}

TEST_CASE("ssd_scan: FP16 states saturate", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(10);
    Case full({9, 3, 20, 1, 6}, Decay::kNone, rng);
    full.b.fill(1000);
    full.x.fill(-100);
    full.dt.fill(1);
    const Case k = full.halved();
    const Outcome to = k.fresh();
    run(v, k.args(to));
    Mismatches bad;
    for (int64_t i = 0; i < to.half.size(); ++i)
      bad.check(to.half[i] == 0xfbff, "state" + at(0, i));
    for (int64_t t = 0; t < k.s.tokens; ++t) run(v, ssd_part(k.args(to), t, 1));
    for (int64_t i = 0; i < to.half.size(); ++i)
      bad.check(to.half[i] == 0xfbff, "state" + at(1, i));
  });
}

TEST_CASE("ssd_scan: a state is written for every eighth token alone", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    Rng rng(8);
    const Case k({2 * kSsdPending, 3, 20, 1, 6}, Decay::kMixed, rng);
    const Outcome to = k.fresh();
    Mismatches bad;
    for (int64_t t = 0; t < k.s.tokens; ++t) {
      const Buffer<float> before = to.state;
      run(v, ssd_part(k.args(to), t, 1));
      for (int64_t i = 0; i < before.size(); ++i) {
        const bool due = (kPosition + t + i / 120) % kSsdPending == kSsdPending - 1;
        bad.check((before[i] != to.state[i]) == due, "state" + at(t, i));
      }
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
      const Buffer<float> pending(ssd_pending_size(kHeads, 1, 1, 1));
      SsdScanArgs args{.x = zeros.data(),
                       .x_stride = kHeads,
                       .dt = dt.data(),
                       .dt_stride = kHeads,
                       .b = zeros.data(),
                       .c = zeros.data(),
                       .bc_stride = 1,
                       .a = a.data(),
                       .d = zeros.data(),
                       .state = state.data(),
                       .half_state = nullptr,
                       .pending = ssd_pending_at(pending.data(), kHeads, 1, 1, 1),
                       .position = 0,
                       .y = y.data(),
                       .y_stride = kHeads,
                       .tokens = tokens,
                       .heads = kHeads,
                       .head_dim = 1,
                       .groups = 1,
                       .states = 1,
                       .head_begin = 0,
                       .head_end = kHeads,
                       .work = nullptr};
      run(v, args);
      args.tokens = 0;
      run(v, args);
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

TEST_CASE("ssd_scan: cuts at multiples of 64 of the position keep the bits", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    for (const int64_t position : {int64_t{0}, int64_t{64}, int64_t{5}, int64_t{61}, int64_t{120}})
      for (const int64_t tokens : {int64_t{203}, int64_t{68}, 193 - position % 64})
        for (const bool half : {false, true})
          for (const bool rounded : {false, true}) {
            INFO("tokens " << tokens << " from " << position << (half ? ", FP16" : ", FP32"));
            Rng rng(5);
            Case full({tokens, 3, 24, 1, 16}, Decay::kMixed, rng);
            full.rounded = rounded;
            full.position = position;
            const Case k = half ? full.halved() : full;
            const Outcome got = k.fresh(), cut = k.fresh(), twos = k.fresh();
            run(v, k.args(got));
            const auto run_blocks = [&](const Outcome& to, int64_t blocks) {
              for (int64_t t = 0; t < tokens;) {
                int64_t count = std::min(64 * blocks - (position + t) % 64, tokens - t);
                if (tokens - t - count == 1) count += 1;  // one alone goes its own way
                run(v, ssd_part(k.args(to), t, count));
                t += count;
              }
            };
            run_blocks(cut, 1);
            CHECK(cut.same_bits(got));
            run_blocks(twos, 2);
            CHECK(twos.same_bits(got));
          }
  });
}

TEST_CASE("ssd_scan: other heads are left alone", "[ssd_scan]") {
  for_each_variant(ssd_scan_variants(), [](const Variant<SsdScan>& v) {
    for (const int64_t tokens : {1, 6}) {
      Rng rng(3);
      const Case k({tokens, 6, 9, 2, 5}, Decay::kMixed, rng);
      const Outcome to = k.fresh();
      SsdScanArgs a = k.args(to);
      a.head_begin = 2;
      a.head_end = 5;
      run(v, a);
      Mismatches bad;
      for (int64_t i = 0; i < 6 * 9; ++i) {
        const bool ours = i / 9 >= 2 && i / 9 < 5;
        for (int64_t t = 0; t < tokens; ++t)
          bad.check(poisoned(to.y[t * k.x_stride + i]) != ours, "y");
        bad.check(ours || a.pending.log[i / 9] == 0, "pending");
      }
      for (int64_t i = 0; i < to.state.size(); ++i)
        if (i / 45 < 2 || i / 45 >= 5) bad.check(to.state[i] == k.state[i], "state");
    }
  });
}

}  // namespace
}  // namespace klens::cpu
