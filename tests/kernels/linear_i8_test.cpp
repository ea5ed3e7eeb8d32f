#include "kernels/cpu/linear/linear_i8.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {

LinearI8 linear_i8_amx_emulated, linear_i8_avx512vl;
#ifndef KLENS_SANITIZED
LinearI8 linear_i8_amx_plain, linear_i8_plain8, linear_i8_plain16;
#endif

namespace {

using namespace klens::testing;

struct Shape {
  int64_t rows, cols, w_group, x_group, tokens;
  // Bytes from a token to the next: what kernels take for the size of the activations, so that few
  // columns can be as many as no cache holds.
  int64_t least_stride = 0;
};

// INT8 has no groups of 16.
Shape possible(Kind kind, Shape s) {
  if (kind.layout != Layout::kTilesI8) return s;
  if (s.x_group == 16) s.x_group = 32;
  if (s.w_group == 16) s.w_group = 32;
  return s;
}

struct Case {
  Shape shape;
  RandomWeight weight;
  int64_t x_stride, y_stride, x_groups;
  Buffer<int8_t> x;
  Buffer<float> x_scale;
  Buffer<int32_t> x_sum;
  Buffer<float> untouched;

  Case(Kind kind, Shape asked, Rng& rng)
      : shape(possible(kind, asked)),
        weight(kind, shape.rows, shape.cols, shape.w_group, rng),
        x_stride(std::max(shape.least_stride, (shape.cols + 31) / 32 * 32 + 32)),
        y_stride(shape.rows + 5),
        x_groups((shape.cols + shape.x_group - 1) / shape.x_group),
        x(strided(shape.tokens, (shape.cols + 31) / 32 * 32, x_stride)),
        x_scale(shape.tokens * x_groups),
        x_sum(shape.tokens * x_groups),
        untouched(strided(shape.tokens, shape.rows, y_stride), 1) {
    untouched.fill(kPoison);
    fill_uniform(x_scale, rng, 0.001f, 0.01f);
    for (int64_t t = 0; t < shape.tokens; ++t)
      for (int64_t k = 0; k < shape.cols; ++k) {
        // A byte of a draw for each of the number and of the eighths that are extreme.
        const uint32_t random = rng();
        const int q = random % 8 == 0   ? -127
                      : random % 8 == 1 ? 127
                                        : static_cast<int>((random >> 8) % 255) - 127;
        x[t * x_stride + k] = static_cast<int8_t>(q);
        x_sum[t * x_groups + k / shape.x_group] += q;
      }
  }

  LinearI8Args args(float* y) const {
    return {
        weight.view, x.data(),     x_stride, x_scale.data(),         x_sum.data(), shape.x_group, y,
        y_stride,    shape.tokens, 0,        weight.view.row_tiles()};
  }
};

// Of a scale or a minimum, at output n and column k.
double of_group(const WeightView& w, const uint16_t* halves, int64_t n, int64_t k) {
  if (halves == nullptr) return 0;
  return f16_to_f32(halves[(n / 16 * w.groups() + k / w.group) * 16 + n % 16]);
}

// The sum as its definition has it, and of its terms' magnitudes, for the bound.
struct Sums {
  double y = 0, magnitude = 0;
};

Sums naive(const Case& c, const std::vector<int32_t>& w, int64_t t, int64_t n) {
  Sums sums;
  for (int64_t g = 0; g < c.x_groups; ++g) {
    int64_t dot = 0;
    const int64_t begin = g * c.shape.x_group;
    const int64_t end = std::min(c.shape.cols, begin + c.shape.x_group);
    for (int64_t k = begin; k < end; ++k)
      dot += w[static_cast<size_t>(k)] * int64_t{c.x[t * c.x_stride + k]};
    const double x_scale = double{c.x_scale[t * c.x_groups + g]};
    const double scaled =
        x_scale * of_group(c.weight.view, c.weight.view.scale, n, begin) * static_cast<double>(dot);
    const double added = x_scale * of_group(c.weight.view, c.weight.view.min, n, begin) *
                         c.x_sum[t * c.x_groups + g];
    sums.y += scaled + added;
    sums.magnitude += std::fabs(scaled) + std::fabs(added);
  }
  return sums;
}

std::string name(const Case& c) {
  const Shape& s = c.shape;
  return kind_name(c.weight.view) + " " + std::to_string(s.rows) + "x" + std::to_string(s.cols) +
         " groups " + std::to_string(s.w_group) + "/" + std::to_string(s.x_group) + " tokens " +
         std::to_string(s.tokens);
}

// For machines that lack what they need: the variant `amx` over a software model of the tiles, and
// the variant `avxvnni` in AVX-512's encoding.
constexpr Variant<LinearI8> kEmulated[] = {
    {"amx, emulated", kAvx2 | kAvx512 | kAvx512Vnni, linear_i8_amx_emulated},
    {"avxvnni, as AVX-512", kAvx2 | kAvx512 | kAvx512Vnni, linear_i8_avx512vl}};

// For any machine: the sources of these and of `avx512vnni` in plain C++. One level is enough, as
// they are the same in all.
std::span<const Variant<LinearI8>> in_plain_cpp() {
#ifdef KLENS_SANITIZED  // such a build sees the real ones
  return {};
#else
  static constexpr Variant<LinearI8> kPlain[] = {
      {"amx, in plain C++", kBaseline, linear_i8_amx_plain},
      {"avx512vnni, in plain C++", kBaseline, linear_i8_plain16},
      {"avxvnni, in plain C++", kBaseline, linear_i8_plain8}};
  if (active() != kBaseline) return {};
  return kPlain;
#endif
}

// What the specification says of a case, and how far a row may be from it.
struct Wanted {
  Buffer<float> y;
  std::vector<double> bounds;  // of y; negative where nothing may be written
};

// Held to the definition itself.
Wanted specified(const Case& c) {
  Wanted want{c.untouched, std::vector<double>(static_cast<size_t>(c.untouched.size()), -1)};
  specification(linear_i8_variants()).run(c.args(want.y.data()));
  Mismatches bad;
  std::vector<int32_t> w(static_cast<size_t>(c.shape.cols));
  for (int64_t n = 0; n < c.shape.rows; ++n) {
    for (int64_t k = 0; k < c.shape.cols; ++k)
      w[static_cast<size_t>(k)] = integer_at(c.weight.view, n, k);
    for (int64_t t = 0; t < c.shape.tokens; ++t) {
      const int64_t i = t * c.y_stride + n;
      const Sums sums = naive(c, w, t, n);
      bad.near(want.y[i], sums.y, kEps * std::fabs(sums.y) + 1e-12 * sums.magnitude, at(t, n));
      want.bounds[static_cast<size_t>(i)] =
          static_cast<double>(c.x_groups + 3) * kEps * sums.magnitude;
    }
  }
  return want;
}

void run_row(const Variant<LinearI8>& v, const Case& c, const Wanted& want) {
  Buffer<float> got = c.untouched;
  v.run(c.args(got.data()));
  {
    Mismatches bad;
    for (int64_t i = 0; i < got.size(); ++i) {
      const double bound = want.bounds[static_cast<size_t>(i)];
      if (bound < 0) {
        bad.check(poisoned(got[i]), "wrote element " + std::to_string(i));
      } else {
        bad.near(got[i], want.y[i], bound, at(i / c.y_stride, i % c.y_stride));
      }
    }
  }

  Buffer<float> cut = c.untouched;
  const int64_t tiles = c.weight.view.row_tiles();
  const int64_t steps[] = {1, 3, 18, 2, 5, 36, 4};
  int step = 0;
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t t = 0; t < c.shape.tokens;) {
      const int64_t count = std::min(c.shape.tokens - t, steps[step++ % 7]);
      LinearI8Args a = c.args(cut.data() + t * c.y_stride);
      a.x += t * c.x_stride;
      a.x_scale += t * c.x_groups;
      a.x_sum += t * c.x_groups;
      a.tokens = count;
      a.tile_begin = tile;
      a.tile_end = tile + 1;
      v.run(a);
      t += count;
    }
  CHECK(cut.same_bits(got));
}

// Every row that this machine covers. A case and what is wanted of it are made once for all of
// them.
class RunnableRows {
 public:
  void run(const Case& c) const {
    INFO(name(c));
    const Wanted want = specified(c);
    for (const auto& rows : {table_, emulated_, plain_})
      for (const Variant<LinearI8>* v : rows) {
        INFO("row " << v->name);
        run_row(*v, c, want);
      }
  }

 private:
  using Variants = std::vector<const Variant<LinearI8>*>;
  const Variants table_ = runnable(linear_i8_variants());
  const Variants emulated_ = runnable(std::span<const Variant<LinearI8>>(kEmulated));
  const Variants plain_ = runnable(in_plain_cpp());
};

TEST_CASE("linear_i8: rows agree with the specification", "[linear_i8]") {
  const int64_t all_cols[] = {1,  3,  4,  5,  7,  8,  15,  16,  17,  31, 32,
                              33, 47, 48, 49, 64, 80, 100, 160, 257, 530};
  const RunnableRows rows;
  Rng rng(1);
  Turns<11> row_turns{{1, 47, 16, 31, 2, 80, 17, 7, 33, 15, 48}};
  Turns<8> x_groups{{32, 16, 64, 288, 16, 96, 128, 32}};
  Turns<13> token_turns{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}};
  Turns<5> per_output{{0, 1, 0, 1, 1}};
  for (const Kind kind : kIntegerKinds)
    for (const int64_t cols : all_cols)
      for (int i = 0; i < 3; ++i) {
        const int64_t x_group = x_groups(), w_group = per_output() == 0 ? 4096 : x_group;
        rows.run(Case(kind, {row_turns(), cols, w_group, x_group, token_turns()}, rng));
      }
}

// Three tile rows, the last short, and several groups, of whole and of short tiles.
TEST_CASE("linear_i8: every number of tokens", "[linear_i8]") {
  const RunnableRows rows;
  Rng rng(2);
  Turns<5> turns{{0, 1, 2, 3, 4}};
  const Shape others[] = {{37, 72, 32, 32, 0},
                          {37, 100, 64, 64, 0},
                          {37, 40, 16, 16, 0},
                          {37, 60, 4096, 32, 0},
                          {37, 48, 16, 16, 0}};
  for (int64_t tokens = 0; tokens <= 35; ++tokens)
    for (const Kind kind : kIntegerKinds) {
      rows.run(Case(kind, {37, 128, 64, 64, tokens}, rng));
      Shape other = others[turns()];
      other.tokens = tokens;
      rows.run(Case(kind, other, rng));
    }
}

// Beyond what few tokens reach: blocks of 16 and 32 tokens, groups that fill no step of 64 columns
// or several, one group in several pieces, activations that do not fit the cache at once, and
// weights of which a tile row does not.
TEST_CASE("linear_i8: many tokens", "[linear_i8]") {
  const Shape shapes[] = {
      {16, 48, 4096, 4096, 16},
      {33, 48, 32, 32, 17},
      {80, 80, 32, 32, 33},
      {47, 80, 4096, 96, 35},
      {17, 100, 64, 64, 40},
      {64, 100, 4096, 4096, 47},
      {7, 160, 96, 96, 48},
      {33, 160, 128, 128, 64},
      {48, 160, 4096, 32, 65},
      {81, 257, 64, 64, 70},
      {32, 300, 128, 128, 81},
      {31, 290, 288, 288, 33},
      {18, 1030, 320, 320, 18},
      {33, 48, 16, 16, 35},
      {49, 300, 16, 16, 66},
      {20, 520, 4096, 64, 50},
      {33, 200, 64, 64, 70, 6240},
      {40, 90, 16, 16, 70, 6240},
      {35, 200, 4096, 96, 50, 1 << 18},
      {33, 6200, 6208, 6208, 3},
      {49, 13000, 1024, 1024, 2},
      {17, 2200, 2208, 2208, 19},
  };
  const RunnableRows rows;
  Rng rng(4);
  for (const Kind kind : kIntegerKinds)
    for (const Shape& s : shapes) rows.run(Case(kind, s, rng));
}

// Of the greatest magnitude, all of them, and of the same sign, so that a saturating or overflowing
// sum shows; or of the signs that make every product positive, or negative. 320 columns are more
// than any kernel adds up before it widens, or has at hand at once.
TEST_CASE("linear_i8: extremes are exact", "[linear_i8]") {
  const RunnableRows rows;
  Rng rng(3);
  Turns<4> groups{{16, 32, 64, 320}};
  for (const Kind kind : kIntegerKinds)
    for (const int64_t tokens : {1, 5, 17})
      for (int turn = 0; turn < 4; ++turn) {
        const int64_t group = groups();
        Case c(kind, {16, 320, group, group, tokens}, rng);
        const WeightView& w = c.weight.view;
        for (const bool least : {false, true})
          for (const int signs : {1, -1, 0}) {
            c.x_sum.fill(0);
            for (int64_t k = 0; k < w.cols; ++k) {
              const int sign = signs != 0 ? signs : uniform_int(rng, 0, 1) * 2 - 1;
              const bool low = signs != 0 ? least : least == (sign > 0);
              const int value = low ? least_integer(w) : greatest_integer(w);
              for (int64_t n = 0; n < w.rows; ++n)
                put_integer(w, c.weight.data.data(), n, k, value);
              for (int64_t t = 0; t < tokens; ++t) {
                c.x[t * c.x_stride + k] = static_cast<int8_t>(sign * 127);
                c.x_sum[t * c.x_groups + k / c.shape.x_group] += sign * 127;
              }
            }
            rows.run(c);
          }
      }
}

// Activations may be in smaller groups than weights that have one scale, and one minimum, per
// output.
TEST_CASE("linear_i8: groups of weights and of activations", "[linear_i8]") {
  const RunnableRows rows;
  Rng rng(5);
  for (const Kind kind : kIntegerKinds)
    for (const int64_t x_group : {16, 32, 64, 128})
      for (const int64_t w_group : {x_group, int64_t{1} << 40})
        for (const int64_t tokens : {1, 7, 19})
          rows.run(Case(kind, {19, tokens == 7 ? 256 : 200, w_group, x_group, tokens}, rng));
}

}  // namespace
}  // namespace klens::cpu
