#include "kernels/cpu/scan/delta_rule.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

// kSteep: sums of decays so large within a chunk that FP32 would lose the later ones.
enum class Decay { kMixed, kNone, kTotal, kSteep };

struct Shape {
  int64_t tokens, heads, key_heads, k_dim, v_dim;
};

constexpr int64_t kPosition = 5;  // of the first token

struct Outcome {
  Buffer<float> y, state;

  bool same_bits(const Outcome& other) const {
    return y.same_bits(other.y) && state.same_bits(other.state);
  }
};

struct Case {
  Shape s;
  bool by_channel, tiled, rounded = false;
  int64_t qkv_stride, decay_stride, y_stride;
  Buffer<float> qkv, log_decay, beta, state, untouched;

  Case(const Shape& shape, Decay decay, bool channels, Rng& rng)
      : s(shape),
        by_channel(channels),
        tiled(shape.tokens % 2 == 0),
        qkv_stride(2 * s.key_heads * s.k_dim + s.heads * s.v_dim + 3),
        decay_stride(s.heads * (channels ? s.k_dim : 1) + 2),
        y_stride(s.heads * s.v_dim + 5),
        qkv(s.tokens * qkv_stride, 1),
        log_decay(s.tokens * decay_stride, 2),
        beta(s.tokens * (s.heads + 1), 1),
        state(s.heads * s.k_dim * s.v_dim, 3),
        untouched(strided(s.tokens, s.heads * s.v_dim, y_stride), 2) {
    fill_uniform(qkv, rng, -2, 2);
    fill_uniform(beta, rng, 0, 2);
    fill_uniform(state, rng, -2, 2);
    for (int64_t i = 0; i < log_decay.size(); ++i) {
      log_decay[i] = -std::exp(uniform(rng, -7, 0));
      if (decay == Decay::kNone) log_decay[i] = 0;
      if (decay == Decay::kTotal) log_decay[i] = -1e9f;
      if (decay == Decay::kSteep && i / decay_stride % 16 == 3) log_decay[i] = -1e6f;
    }
    untouched.fill(kPoison);
  }

  Outcome fresh() const { return {untouched, state}; }

  // Tokens [first, first + count).
  DeltaRuleArgs args(const Outcome& out, int64_t first, int64_t count) const {
    const float* row = qkv.data() + first * qkv_stride;
    return {.q = row,
            .k = row + s.key_heads * s.k_dim,
            .v = row + 2 * s.key_heads * s.k_dim,
            .qkv_stride = qkv_stride,
            .log_decay = log_decay.data() + first * decay_stride,
            .decay_stride = decay_stride,
            .by_channel = by_channel,
            .beta = beta.data() + first * (s.heads + 1),
            .beta_stride = s.heads + 1,
            .state = out.state.data(),
            .position = kPosition + first,
            .y = out.y.data() + first * y_stride,
            .y_stride = y_stride,
            .tokens = count,
            .heads = s.heads,
            .key_heads = s.key_heads,
            .k_dim = s.k_dim,
            .v_dim = s.v_dim,
            .tiled = tiled,
            .head_begin = 0,
            .head_end = s.heads,
            .work = nullptr,
            .rounded = rounded};
  }

  void run(const Variant<DeltaRule>& v, const Outcome& out, int64_t first, int64_t count,
           int64_t head_begin, int64_t head_end) const {
    DeltaRuleArgs a = args(out, first, count);
    a.head_begin = head_begin;
    a.head_end = head_end;
    Buffer<float> work(delta_rule_work(a));
    work.fill(kPoison);
    a.work = work.data();
    v.run(a);
  }
  Outcome all(const Variant<DeltaRule>& v) const {
    Outcome out = fresh();
    run(v, out, 0, s.tokens, 0, s.heads);
    return out;
  }
};

// As delta_rule.h promises.
void check(const Case& c, const Outcome& got, const Outcome& want) {
  const Shape& s = c.s;
  Mismatches bad;
  for (int64_t h = 0; h < s.heads; ++h)
    for (int64_t p = 0; p < s.v_dim; ++p) {
      double length = 0;
      for (int64_t n = 0; n < s.k_dim; ++n) {
        const double x = c.state[(h * s.k_dim + n) * s.v_dim + p];
        length += x * x;
      }
      double most = std::sqrt(length), error = most;
      const double by = 16 * static_cast<double>(s.k_dim + 72) * kEps + (c.rounded ? 0x1p-6 : 0);
      for (int64_t t = 0; t < s.tokens; ++t) {
        const float* log = c.log_decay.data() + t * c.decay_stride;
        double decay = c.by_channel ? -1e30 : double{log[h]};
        for (int64_t n = 0; c.by_channel && n < s.k_dim; ++n)
          decay = std::max(decay, double{log[h * s.k_dim + n]});
        decay = std::exp(decay);
        const float v = c.args(got, t, 1).v[h * s.v_dim + p];
        most = decay * most + double{c.beta[t * (s.heads + 1) + h]} * std::fabs(double{v});
        error = decay * error + most;
        const int64_t i = t * c.y_stride + h * s.v_dim + p;
        bad.near(got.y[i], want.y[i], by * error / std::sqrt(static_cast<double>(s.k_dim)),
                 "y" + at(t, h * s.v_dim + p));
      }
      for (int64_t n = 0; n < s.k_dim; ++n) {
        const int64_t i = (h * s.k_dim + n) * s.v_dim + p;
        bad.near(got.state[i], want.state[i], by * error, "state" + at(h * s.k_dim + n, p));
      }
    }
  for (int64_t i = 0; i < got.y.size(); ++i)
    if (i % c.y_stride >= s.heads * s.v_dim) bad.check(poisoned(got.y[i]), "wrote between rows");
}

const Shape kShapes[] = {{1, 1, 1, 1, 1},     {2, 2, 1, 3, 5},     {7, 3, 3, 16, 16},
                         {59, 4, 2, 17, 33},  {60, 2, 1, 32, 64},  {61, 2, 2, 24, 32},
                         {64, 1, 1, 128, 31}, {130, 4, 2, 16, 16}, {200, 2, 1, 128, 128},
                         {9, 2, 2, 96, 192},  {3, 5, 5, 1, 40},    {131, 1, 1, 48, 96}};

}  // namespace

TEST_CASE("delta_rule: rows agree with the specification", "[delta_rule]") {
  const auto variants = runnable(delta_rule_variants());
  Rng rng(1);
  for (const Shape& shape : kShapes)
    for (const Decay decay : {Decay::kMixed, Decay::kNone, Decay::kTotal, Decay::kSteep})
      for (const bool by_channel : {false, true}) {
        if (by_channel && shape.tokens * shape.k_dim * shape.v_dim > 200000) continue;  // slow
        Case c(shape, decay, by_channel, rng);
        INFO("tokens " << shape.tokens << " k_dim " << shape.k_dim << " v_dim " << shape.v_dim
                       << " decay " << static_cast<int>(decay) << " by channel " << by_channel);
        const Outcome want = c.all(specification(delta_rule_variants()));
        for (const bool rounded : {false, true}) {
          c.rounded = rounded;
          for (const Variant<DeltaRule>* v : variants) {
            INFO("row " << v->name << " rounded " << rounded);
            check(c, c.all(*v), want);
          }
        }
      }
}

TEST_CASE("delta_rule: heads apart, and cuts at chunks, give the same bits", "[delta_rule]") {
  const auto variants = runnable(delta_rule_variants());
  Rng rng(2);
  for (const Shape& shape : {Shape{200, 4, 2, 32, 32}, Shape{131, 3, 3, 17, 33}}) {
    Case c(shape, Decay::kMixed, false, rng);
    for (const bool rounded : {false, true})
      for (const Variant<DeltaRule>* v : variants) {
        INFO("row " << v->name << " rounded " << rounded);
        c.rounded = rounded;
        const Outcome whole = c.all(*v);
        Outcome apart = c.fresh();
        for (int64_t h = 0; h < shape.heads; ++h) c.run(*v, apart, 0, shape.tokens, h, h + 1);
        CHECK(apart.same_bits(whole));
        Outcome cut = c.fresh();
        for (int64_t t = 0; t < shape.tokens;) {
          const int64_t to_chunk = kDeltaChunk - (kPosition + t) % kDeltaChunk;
          const int64_t count = std::min(shape.tokens - t, to_chunk);
          c.run(*v, cut, t, count, 0, shape.heads);
          t += count;
        }
        CHECK(cut.same_bits(whole));
        // Elsewhere within the bound.
        Outcome odd = c.fresh();
        for (int64_t t = 0, step = 1; t < shape.tokens; step = step % 7 + 2) {
          const int64_t count = std::min(shape.tokens - t, step);
          c.run(*v, odd, t, count, 0, shape.heads);
          t += count;
        }
        check(c, odd, c.all(specification(delta_rule_variants())));
      }
  }
}

TEST_CASE("delta_rule: no tokens leave a state alone, and no other head is touched",
          "[delta_rule]") {
  Rng rng(3);
  const Case c({70, 3, 3, 16, 32}, Decay::kMixed, false, rng);
  for (const Variant<DeltaRule>* v : runnable(delta_rule_variants())) {
    INFO("row " << v->name);
    Outcome none = c.fresh();
    c.run(*v, none, 0, 0, 0, 3);
    CHECK(none.same_bits(c.fresh()));
    Outcome one = c.fresh();
    c.run(*v, one, 0, 70, 1, 2);
    Mismatches bad;
    for (int64_t i = 0; i < one.y.size(); ++i) {
      const int64_t col = i % c.y_stride;
      if (col < 32 || col >= 64) bad.check(poisoned(one.y[i]), "y of another head");
    }
    for (int64_t i = 0; i < one.state.size(); ++i)
      if (i / (16 * 32) != 1) bad.check(one.state[i] == c.state[i], "state of another head");
  }
}

}  // namespace klens::cpu
