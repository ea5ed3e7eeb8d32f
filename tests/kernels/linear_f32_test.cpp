#include "kernels/cpu/linear/linear_f32.h"

#include <dlfcn.h>

#include "kernels/half.h"
#include "tests/kernels/testing.h"

namespace klens::cpu {

LinearF32 linear_f32_amx_emulated;

namespace {

using namespace klens::testing;

struct Case {
  RandomWeight weight;
  Buffer<float> x;
  int64_t x_stride, y_stride, tokens;
  bool rounded = false;
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
    return {weight.view, x.data(), x_stride, y, y_stride, tokens, 0, weight.view.row_tiles(),
            rounded};
  }
  bool of_16_bits() const {
    const Layout layout = weight.view.layout;
    return layout == Layout::kRowsF16 || layout == Layout::kRowsBf16 || layout == Layout::kTilesF16;
  }
};

std::string name(const Case& c) {
  return kind_name(c.weight.view) + " " + std::to_string(c.weight.view.rows) + "x" +
         std::to_string(c.weight.view.cols) + " groups " + std::to_string(c.weight.view.group) +
         " tokens " + std::to_string(c.tokens) + (c.rounded ? " rounded" : "");
}

// What the specification says of a case, and how far a variant may be from it: the bounds of y,
// negative where there is none.
struct Wanted {
  Buffer<float> y;
  std::vector<double> bounds;
};

Wanted specified(const Case& c) {
  Wanted want{c.untouched, std::vector<double>(static_cast<size_t>(c.untouched.size()), -1)};
  specification(linear_f32_variants()).run(c.args(want.y.data()));
  const int64_t cols = c.weight.view.cols;
  std::vector<float> w(static_cast<size_t>(cols));
  for (int64_t n = 0; n < c.weight.view.rows; ++n) {
    expand_row(c.weight.view, n, w.data());
    for (int64_t t = 0; t < c.tokens; ++t) {
      double magnitude = 0;
      for (int64_t k = 0; k < cols; ++k)
        magnitude += std::fabs(double{w[static_cast<size_t>(k)]} * double{c.x[t * c.x_stride + k]});
      want.bounds[static_cast<size_t>(t * c.y_stride + n)] =
          (static_cast<double>(cols) * kEps + (c.rounded ? 0x1p-7 + 0x1p-16 : 0)) * magnitude;
    }
  }
  return want;
}

// Outputs of the call's tiles, and of no others.
void compare(const Case& c, const LinearF32Args& a, const Buffer<float>& got, const Wanted& want) {
  Mismatches bad;
  const int64_t begin = a.tile_begin * 16, end = std::min(a.w.rows, a.tile_end * 16);
  for (int64_t i = 0; i < got.size(); ++i) {
    const int64_t t = i / c.y_stride, n = i % c.y_stride;
    if (n >= begin && n < end) {
      bad.near(got[i], want.y[i], want.bounds[static_cast<size_t>(i)], at(t, n));
    } else {
      bad.check(poisoned(got[i]), "wrote element " + std::to_string(i));
    }
  }
}

void run_variant(const Variant<LinearF32>& v, const Case& c, const Wanted& want) {
  Buffer<float> got = c.untouched;
  v.run(c.args(got.data()));
  compare(c, c.args(nullptr), got, want);

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
  CHECK(cut.same_bits(got));

  // A range in the middle leaves the rest alone.
  if (tiles >= 3) {
    Buffer<float> part = c.untouched;
    LinearF32Args a = c.args(part.data());
    a.tile_begin = 1;
    a.tile_end = tiles - 1;
    v.run(a);
    compare(c, a, part, want);
  }
}

// For machines without AMX: the variant `amx` over a software model of the tiles.
constexpr Variant<LinearF32> kEmulated[] = {
    {"amx, emulated", kAvx2 | kAvx512 | kAvx512Bf16, linear_f32_amx_emulated}};

class Runnable {
 public:
  void run(Case c) const {
    run_as_it_is(c);
    if (!c.of_16_bits()) return;
    c.rounded = true;
    run_as_it_is(c);
  }

 private:
  void run_as_it_is(const Case& c) const {
    INFO(name(c));
    const Wanted want = specified(c);
    for (const Variant<LinearF32>* v : variants_) {
      INFO("row " << v->name);
      run_variant(*v, c, want);
    }
    for (const Variant<LinearF32>* v : emulated_) {
      INFO("variant " << v->name);
      run_variant(*v, c, want);
    }
  }

  const std::vector<const Variant<LinearF32>*> variants_ = runnable(linear_f32_variants()),
                                               emulated_ = runnable(
                                                   std::span<const Variant<LinearF32>>(kEmulated));
};

TEST_CASE("linear_f32: rows agree with the specification", "[linear_f32]") {
  const int64_t all_cols[] = {1,  2,  3,  4,  7,   8,   9,   15,  16,  17,  31,
                              33, 47, 48, 80, 100, 160, 255, 256, 257, 519, 776};
  const Runnable variants;
  Rng rng(1);
  Turns<10> rows{{1, 47, 16, 31, 2, 100, 17, 7, 33, 80}};
  Turns<7> groups{{32, 16, 1024, 64, 288, 96, 16}};
  Turns<13> tokens{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}};
  for (const Kind kind : kKinds)
    for (const int64_t cols : all_cols)
      for (int i = 0; i < 3; ++i) variants.run(Case(kind, rows(), cols, groups(), tokens(), rng));
}

// Of one chunk of columns and of two.
TEST_CASE("linear_f32: every number of tokens", "[linear_f32]") {
  const Runnable variants;
  Rng rng(2);
  Turns<4> cols{{45, 301, 54, 77}};
  Turns<7> groups{{64, 32, 16, 32, 64, 16, 96}};
  for (int64_t tokens = 0; tokens <= 37; ++tokens)
    for (const Kind kind : kKinds) variants.run(Case(kind, 37, cols(), groups(), tokens, rng));
}

// Rows that expand a few tiles at a time do so more than once.
TEST_CASE("linear_f32: many tiles", "[linear_f32]") {
  const Runnable variants;
  Rng rng(3);
  for (const Kind kind : kKinds)
    for (const int64_t tokens : {9, 30}) variants.run(Case(kind, 277, 275, 96, tokens, rng));
}

// What is not of 16 bits, or need not be rounded, is not.
TEST_CASE("linear_f32: nothing else is rounded", "[linear_f32]") {
  Rng rng(4);
  for (const Kind kind : kKinds) {
    Case c(kind, 37, 75, 32, 13, rng);
    INFO(name(c));
    for_each_variant(linear_f32_variants(), [&](const Variant<LinearF32>& v) {
      Buffer<float> exact = c.untouched, rounded = c.untouched;
      c.rounded = false;
      v.run(c.args(exact.data()));
      c.rounded = true;
      v.run(c.args(rounded.data()));
      const bool may_differ = c.of_16_bits() && covers(v.needs, kAvx512Bf16);
      CHECK(rounded.same_bits(exact) == !may_differ);
    });
  }
}

// oneDNN's products of BF16, of what was rounded as this does: the same but for the order of sums.
// LeakSanitizer dies of its threads.
TEST_CASE("linear_f32: oneDNN agrees on products of BF16", "[linear_f32]") {
  using Gemm = int(char, char, int64_t, int64_t, int64_t, float, const uint16_t*, int64_t,
                   const uint16_t*, int64_t, float, float*, int64_t);
#ifdef __has_feature
#if __has_feature(address_sanitizer)
  std::printf("skip oneDNN: not under AddressSanitizer\n");
  return;
#endif
#endif
  void* library = ::dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = ::dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
  void* found = library == nullptr ? nullptr : ::dlsym(library, "dnnl_gemm_bf16bf16f32");
  if (found == nullptr) {
    std::printf("skip oneDNN: there is no libdnnl with dnnl_gemm_bf16bf16f32\n");
    return;
  }
  Rng rng(5);
  for (const Kind kind : {kKinds[1], kKinds[2]})
    for (const int64_t tokens : {1, 12, 45}) {
      Case c(kind, 277, 1075, 32, tokens, rng);
      c.rounded = true;
      INFO(name(c));
      const int64_t rows = c.weight.view.rows, cols = c.weight.view.cols;
      std::vector<uint16_t> w, x;
      std::vector<float> row(static_cast<size_t>(cols));
      for (int64_t n = 0; n < rows; ++n) {
        expand_row(c.weight.view, n, row.data());
        for (const float value : row) w.push_back(f32_to_bf16(value));
      }
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t k = 0; k < cols; ++k) x.push_back(f32_to_bf16(c.x[t * c.x_stride + k]));
      std::vector<float> theirs(static_cast<size_t>(tokens * rows));
      const int status = reinterpret_cast<Gemm*>(found)(
          'N', 'T', tokens, rows, cols, 1, x.data(), cols, w.data(), cols, 0, theirs.data(), rows);
      if (status != 0) {
        std::printf("skip oneDNN: it has no products of BF16 here (status %d)\n", status);
        return;
      }
      const Wanted want = specified(c);
      for_each_variant(linear_f32_variants(), [&](const Variant<LinearF32>& v) {
        if (!covers(v.needs, kAvx512Bf16)) return;
        Buffer<float> got = c.untouched;
        v.run(c.args(got.data()));
        Mismatches bad;
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t n = 0; n < rows; ++n) {
            const int64_t i = t * c.y_stride + n;
            // The bound without what rounding adds.
            const double magnitude = want.bounds[static_cast<size_t>(i)] /
                                     (static_cast<double>(cols) * kEps + 0x1p-7 + 0x1p-16);
            bad.near(got[i], theirs[static_cast<size_t>(t * rows + n)],
                     static_cast<double>(cols) * kEps * magnitude, at(t, n));
          }
      });
    }
}

}  // namespace
}  // namespace klens::cpu
