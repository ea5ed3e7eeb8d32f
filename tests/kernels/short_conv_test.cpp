#include "kernels/cpu/conv1d/short_conv.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

struct Case {
  int64_t tokens, channels, width;
  int64_t x_stride, y_stride;
  Buffer<float> before, after, x, w, bias, state, untouched;

  Case(int64_t t, int64_t c, int64_t k, Rng& rng)
      : tokens(t),
        channels(c),
        width(k),
        x_stride(c + 3),
        y_stride(c + 5),
        before(strided(t, c, x_stride), 2),
        after(strided(t, c, x_stride), 3),
        x(strided(t, c, x_stride), 1),
        w(k * c, 1),
        bias(c, 1),
        state((k - 1) * c, 1),
        untouched(strided(t, c, y_stride), 1) {
    for (const Buffer<float>* b : {&before, &after, &x}) fill_uniform(*b, rng, -2, 2);
    fill_uniform(w, rng, -1, 1);
    fill_uniform(bias, rng, -1, 1);
    fill_uniform(state, rng, -3, 3);
    untouched.fill(kPoison);
  }

  ShortConvArgs args(const Buffer<float>& y, const Buffer<float>& s, bool biased) const {
    return {.before = before.data(),
            .after = after.data(),
            .x = x.data(),
            .x_stride = x_stride,
            .y = y.data(),
            .y_stride = y_stride,
            .w = w.data(),
            .bias = biased ? bias.data() : nullptr,
            .state = s.data(),
            .tokens = tokens,
            .channels = channels,
            .width = width,
            .channel_begin = 0,
            .channel_end = channels};
  }
};

void run_case(const Variant<ShortConv>& v, const Case& c, bool biased) {
  INFO("tokens " << c.tokens << " channels " << c.channels << " width " << c.width);
  Buffer<float> want = c.untouched, want_state = c.state, got = c.untouched, got_state = c.state;
  specification(short_conv_variants()).run(c.args(want, want_state, biased));
  v.run(c.args(got, got_state, biased));
  CHECK(got_state.same_bits(want_state));
  Mismatches bad;
  for (int64_t i = 0; i < got.size(); ++i) {
    const int64_t t = i / c.y_stride, ch = i % c.y_stride;
    if (ch >= c.channels) {
      bad.check(poisoned(got[i]), "wrote between rows");
      continue;
    }
    double magnitude = biased ? std::fabs(double{c.bias[ch]}) : 0;
    for (int64_t j = 0; j < c.width; ++j) {
      const int64_t from = t - (c.width - 1) + j;
      const int64_t in_row = from * c.x_stride + ch;
      const double in = from < 0 ? c.state[(from + c.width - 1) * c.channels + ch]
                                 : c.before[in_row] * c.x[in_row];
      magnitude += std::fabs(in * double{c.w[j * c.channels + ch]});
    }
    const double after = std::fabs(double{c.after[t * c.x_stride + ch]});
    const double bound = static_cast<double>(c.width + 2) * kEps * after * magnitude;
    bad.near(got[i], want[i], bound, std::to_string(t) + ", " + std::to_string(ch));
  }

  // Cut into calls and channel ranges: the same bits.
  Buffer<float> cut = c.untouched, cut_state = c.state;
  const int64_t steps[] = {1, 2, 5, 9, 3};
  int s = 0;
  for (int64_t c0 = 0; c0 < c.channels;) {
    const int64_t c1 = std::min(c.channels, c0 + 8 * steps[s % 5] + s % 3);
    for (int64_t t = 0; t < c.tokens;) {
      ShortConvArgs a = c.args(cut, cut_state, biased);
      for (const float** row : {&a.before, &a.after, &a.x}) *row += t * c.x_stride;
      a.y += t * c.y_stride;
      a.tokens = std::min(c.tokens - t, steps[s++ % 5]);
      a.channel_begin = c0;
      a.channel_end = c1;
      v.run(a);
      t += a.tokens;
    }
    c0 = c1;
    ++s;
  }
  CHECK(cut.same_bits(got));
  CHECK(cut_state.same_bits(got_state));
}

TEST_CASE("short_conv: rows agree with the specification", "[short_conv]") {
  for_each_variant(short_conv_variants(), [](const Variant<ShortConv>& v) {
    Rng rng(1);
    for (const int64_t channels : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 80, 100})
      for (const int64_t width : {1, 2, 3, 4, 5, 16})
        for (const int64_t tokens : {0, 1, 2, 3, 4, 7, 8, 9, 13, 17, 33})
          run_case(v, Case(tokens, channels, width, rng), tokens % 2 == 0);
  });
}

TEST_CASE("short_conv: other channels are neither read nor written", "[short_conv]") {
  for_each_variant(short_conv_variants(), [](const Variant<ShortConv>& v) {
    Rng rng(2);
    Case c(9, 40, 4, rng);
    Buffer<float> y = c.untouched, state = c.state;
    for (int64_t ch = 0; ch < 40; ++ch) {
      if (ch >= 5 && ch < 26) continue;
      for (int64_t j = 0; j < 3; ++j) state[j * 40 + ch] = kPoison;
      for (int64_t t = 0; t < 9; ++t)
        for (const Buffer<float>* b : {&c.before, &c.after, &c.x})
          (*b)[t * c.x_stride + ch] = kPoison;
    }
    ShortConvArgs a = c.args(y, state, true);
    a.channel_begin = 5;
    a.channel_end = 26;
    v.run(a);
    Mismatches bad;
    for (int64_t ch = 0; ch < 40; ++ch) {
      const bool ours = ch >= 5 && ch < 26;
      for (int64_t t = 0; t < 9; ++t)
        bad.check(ours ? std::isfinite(y[t * c.y_stride + ch]) : poisoned(y[t * c.y_stride + ch]),
                  "y");
      for (int64_t j = 0; j < 3; ++j)
        bad.check(ours ? std::isfinite(state[j * 40 + ch]) : poisoned(state[j * 40 + ch]), "state");
    }
  });
}

}  // namespace
}  // namespace klens::cpu
