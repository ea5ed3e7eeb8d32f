#include "kernels/cpu/linear/linear_f32.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

struct Case {
  RandomWeight weight;
  Buffer<float> x;
  int64_t x_stride, y_stride, tokens;
  Buffer<float> untouched;

  Case(Kind kind, int64_t rows, int64_t cols, int64_t group, int64_t t, Rng& rng)
      : weight(kind, rows, cols, group, rng),
        x(strided(t, cols, cols + 3), 1),
        x_stride(cols + 3),
        y_stride(rows + 5),
        tokens(t),
        untouched(strided(t, rows, rows + 5), 1) {
    x.fill(kPoison);  // what lies between rows must not be used
    for (int64_t i = 0; i < tokens; ++i)
      for (int64_t k = 0; k < cols; ++k) x[i * x_stride + k] = uniform(rng, -1, 1);
    untouched.fill(kPoison);
  }

  LinearF32Args args(float* y) const {
    return {weight.view, x.data(), x_stride, y, y_stride, tokens, 0, weight.view.row_tiles()};
  }
};

std::string name(const Case& c, int64_t t, int64_t n) {
  return kind_name(c.weight.view) + " " + std::to_string(c.weight.view.rows) + "x" +
         std::to_string(c.weight.view.cols) + " tokens " + std::to_string(c.tokens) + " at [" +
         std::to_string(t) + "][" + std::to_string(n) + "]";
}

void compare(const Case& c, const LinearF32Args& a, const float* got, const float* want) {
  Mismatches bad;
  const int64_t cols = c.weight.view.cols;
  std::vector<float> w(static_cast<size_t>(cols));
  const int64_t begin = a.tile_begin * 16, end = std::min(a.w.rows, a.tile_end * 16);
  std::vector<char> written(static_cast<size_t>(c.untouched.size()), 0);
  for (int64_t n = begin; n < end; ++n) {
    expand_row(c.weight.view, n, w.data());
    for (int64_t t = 0; t < c.tokens; ++t) {
      double magnitude = 0;
      for (int64_t k = 0; k < cols; ++k)
        magnitude += std::fabs(double{w[static_cast<size_t>(k)]} * double{c.x[t * c.x_stride + k]});
      const int64_t i = t * c.y_stride + n;
      written[static_cast<size_t>(i)] = 1;
      bad.near(got[i], want[i], static_cast<double>(cols) * kEps * magnitude, name(c, t, n));
    }
  }
  for (size_t i = 0; i < written.size(); ++i)
    bad.check(written[i] != 0 || poisoned(got[i]), "wrote element " + std::to_string(i));
}

void run_case(const Variant<LinearF32>& v, const Case& c) {
  const auto table = linear_f32_variants();
  Buffer<float> want = c.untouched, got = c.untouched;
  specification(table).run(c.args(want.data()));
  v.run(c.args(got.data()));
  compare(c, c.args(nullptr), got.data(), want.data());

  // Any cut of tokens and tiles gives the same bits.
  Buffer<float> cut = c.untouched;
  const int64_t tiles = c.weight.view.row_tiles();
  const int64_t steps[] = {1, 2, 3, 5, 4};
  int s = 0;
  for (int64_t tile = 0; tile < tiles;) {
    const int64_t tile_end = std::min(tiles, tile + steps[s++ % 5]);
    for (int64_t t = 0; t < c.tokens;) {
      const int64_t count = std::min(c.tokens - t, steps[s++ % 5]);
      LinearF32Args a = c.args(cut.data() + t * c.y_stride);
      a.x += t * c.x_stride;
      a.tokens = count;
      a.tile_begin = tile;
      a.tile_end = tile_end;
      v.run(a);
      t += count;
    }
    tile = tile_end;
  }
  INFO(name(c, 0, 0));
  CHECK(cut.same_bits(got));

  // A range in the middle leaves the rest alone.
  if (tiles >= 3) {
    Buffer<float> part = c.untouched;
    LinearF32Args a = c.args(part.data());
    a.tile_begin = 1;
    a.tile_end = tiles - 1;
    v.run(a);
    compare(c, a, part.data(), want.data());
  }
}

TEST_CASE("linear_f32: rows agree with the specification", "[linear_f32]") {
  const int64_t all_cols[] = {1,  2,  3,  4,  7,   8,   9,   15,  16,  17,  31,
                              33, 47, 48, 80, 100, 160, 255, 256, 257, 519, 776};
  const int64_t all_rows[] = {1, 2, 7, 15, 16, 17, 31, 33, 48, 80, 100};
  for_each_variant(linear_f32_variants(), [&](const Variant<LinearF32>& v) {
    Rng rng(1);
    for (const Kind kind : kKinds) {
      int64_t tokens = 0;
      for (const int64_t cols : all_cols)
        for (const int64_t rows : all_rows) {
          tokens = tokens % 13 + 1;
          const int64_t group = uniform_int(rng, 0, 2) == 0 ? 1024 : 32 * uniform_int(rng, 1, 9);
          run_case(v, Case(kind, rows, cols, group, tokens, rng));
        }
    }
  });
}

TEST_CASE("linear_f32: every number of tokens", "[linear_f32]") {
  for_each_variant(linear_f32_variants(), [&](const Variant<LinearF32>& v) {
    Rng rng(2);
    for (const Kind kind : kKinds)
      for (int64_t tokens = 0; tokens <= 37; ++tokens)
        run_case(v, Case(kind, 37, 301, 64, tokens, rng));
  });
}

// Rows that expand a few tiles at a time do so more than once.
TEST_CASE("linear_f32: many tiles", "[linear_f32]") {
  for_each_variant(linear_f32_variants(), [&](const Variant<LinearF32>& v) {
    Rng rng(3);
    for (const Kind kind : kKinds)
      for (const int64_t tokens : {9, 30}) run_case(v, Case(kind, 405, 530, 96, tokens, rng));
  });
}

}  // namespace
}  // namespace klens::cpu
