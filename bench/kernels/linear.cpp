#include "bench/kernels/bench.h"
#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/linear/linear_f32.h"
#include "kernels/cpu/linear/linear_i8.h"

namespace klens::cpu {
namespace {

// A layout, its columns to a scale as formats have them (0: one per output), and whether there are
// minima.
struct Kind {
  const char* name;
  Layout layout;
  int64_t group = 0;
  bool minima = false;

  bool integer() const { return layout >= Layout::kTilesI8; }
  int64_t activation_group() const { return group == 0 ? 32 : group; }
};

constexpr Kind kInt8 = {"tiles_i8", Layout::kTilesI8}, kInt4 = {"tiles_i4", Layout::kTilesI4, 64};
// Of integers, what kInt8 and kInt4 do not show.
constexpr Kind kMoreIntegers[] = {
    {"tiles_i8g32", Layout::kTilesI8, 32},          {"tiles_i5", Layout::kTilesI5, 64},
    {"tiles_i5g32", Layout::kTilesI5, 32},          {"tiles_i6", Layout::kTilesI6, 64},
    {"tiles_i6g32", Layout::kTilesI6, 32},          {"tiles_i6g16", Layout::kTilesI6, 16},
    {"tiles_i3g32", Layout::kTilesI3, 32},          {"tiles_i3g16", Layout::kTilesI3, 16},
    {"tiles_i2g16min", Layout::kTilesI2, 16, true}, {"tiles_i4g32", Layout::kTilesI4, 32},
    {"tiles_i4min", Layout::kTilesI4, 64, true},    {"tiles_i4g32min", Layout::kTilesI4, 32, true},
    {"tiles_i5g32min", Layout::kTilesI5, 32, true}, {"tiles_i6min", Layout::kTilesI6, 64, true}};

int64_t weight_bytes(Layout layout, int64_t rows, int64_t cols) {
  switch (layout) {
    case Layout::kRowsF32:
      return rows * cols * 4;
    case Layout::kRowsF16:
    case Layout::kRowsBf16:
      return rows * cols * 2;
    default:
      return static_cast<int64_t>(tiles_bytes(layout, rows, cols));
  }
}

// Any bytes serve as weights but for numbers that would be slow or not finite: the half 0x2c2c and
// the int8 pair 44, 44 are as good as any.
struct Weight {
  Block<uint8_t> data;
  Block<uint16_t> scale, min;
  WeightView view;

  Weight(const Kind& kind, int64_t rows, int64_t cols)
      : data(weight_bytes(kind.layout, rows, cols), 44, 44.5f),
        scale(scales(kind, rows, cols), 0x2c00, 0x2c01),
        min(scales(kind, rows, cols), 0x2c00, 0x2c01),
        view{kind.layout,
             rows,
             cols,
             kind.group == 0 ? cols : kind.group,
             data.data(),
             scale.data(),
             kind.minima ? min.data() : nullptr} {}

  static int64_t scales(const Kind& kind, int64_t rows, int64_t cols) {
    const int64_t groups = kind.group == 0 ? 1 : (cols + kind.group - 1) / kind.group;
    return (rows + 15) / 16 * 16 * groups;
  }
  // All that a kernel reads of it.
  double bytes(const Kind& kind) const {
    const int64_t halves = kind.integer() ? scales(kind, view.rows, view.cols) : 0;
    return static_cast<double>(weight_bytes(kind.layout, view.rows, view.cols) +
                               2 * halves * (kind.minima ? 2 : 1));
  }
};

struct Shape {
  int64_t rows, cols;
};

// Outputs and inputs as models have them: x_proj and dt_proj of Mamba-1, sizes that fill no tile,
// in_proj and out_proj of 130 M and of 1.3 G parameters, an MLP.
constexpr Shape kShapes[] = {{80, 1536},   {1536, 48},   {160, 4096}, {4096, 160}, {100, 768},
                             {768, 100},   {48, 80},     {768, 1536}, {1536, 768}, {3072, 768},
                             {2048, 4096}, {8192, 2048}, {2048, 8192}};
// A vocabulary's, which prefill does not see.
constexpr Shape kHeads[] = {{50280, 768}, {50280, 2048}};
constexpr int64_t kTokens[] = {1, 8, 512};

std::string name_of(const Kind& kind, const Shape& s, int64_t tokens) {
  return std::string(kind.name) + "/" + std::to_string(s.rows) + "x" + std::to_string(s.cols) +
         "/t" + std::to_string(tokens);
}

double operations_of(const Shape& s, int64_t tokens) {
  return 2.0 * static_cast<double>(s.rows * s.cols * tokens);
}

void add_f32(const Kind& kind, const Shape& s, int64_t tokens) {
  const double operations = operations_of(s, tokens);
  add(
      "linear_f32", linear_f32_variants(), name_of(kind, s, tokens),
      [=](State& state, LinearF32* run) {
        const Weight w(kind, s.rows, s.cols);
        const Block<float> x(tokens * s.cols), y(tokens * s.rows);
        const LinearF32Args a{w.view, x.data(),           s.cols,    y.data(), s.rows, tokens,
                              0,      w.view.row_tiles(), tokens > 1};
        for (auto _ : state) run(a);
        report(state, operations, w.bytes(kind));
      },
      operations);
}

void add_i8(const Kind& kind, const Shape& s, int64_t tokens) {
  const double operations = operations_of(s, tokens);
  add(
      "linear_i8", linear_i8_variants(), name_of(kind, s, tokens),
      [=](State& state, LinearI8* run) {
        const Weight w(kind, s.rows, s.cols);
        const int64_t group = kind.activation_group(), groups = (s.cols + group - 1) / group;
        const int64_t stride = (s.cols + 31) / 32 * 32;
        const Block<int8_t> x(tokens * stride, -127, 127);
        for (int64_t t = 0; t < tokens; ++t)
          std::memset(x.data() + t * stride + s.cols, 0, static_cast<size_t>(stride - s.cols));
        const Block<float> scale(tokens * groups), y(tokens * s.rows);
        const Block<int32_t> sum(tokens * groups, -1000, 1000);
        const LinearI8Args a{
            w.view, x.data(), stride, scale.data(),      sum.data(), group, y.data(),
            s.rows, tokens,   0,      w.view.row_tiles()};
        for (auto _ : state) run(a);
        report(state, operations, w.bytes(kind), Arithmetic::kInteger);
      },
      operations);
}

void add_quantize(int64_t cols, int64_t tokens, int64_t group) {
  add("quantize_activations", quantize_activations_variants(),
      "g" + std::to_string(group) + "/" + std::to_string(cols) + "/t" + std::to_string(tokens),
      [=](State& state, QuantizeActivations* run) {
        const int64_t stride = (cols + 31) / 32 * 32, groups = (cols + group - 1) / group;
        const Block<float> x(tokens * cols), scale(tokens * groups);
        const Block<int8_t> q(tokens * stride);
        const Block<int32_t> sum(tokens * groups);
        for (auto _ : state)
          run({x.data(), cols, tokens, cols, group, group, q.data(), stride, scale.data(),
               sum.data()});
        report(state, 0, 5.0 * static_cast<double>(tokens * cols));
      });
}

}  // namespace

void add_linear() {
  for (const Kind& kind : {kInt8, kInt4}) {
    for (const Shape& s : kShapes)
      for (const int64_t tokens : kTokens) add_i8(kind, s, tokens);
    for (const Shape& s : kHeads)
      for (const int64_t tokens : {1, 8}) add_i8(kind, s, tokens);
  }
  constexpr Shape kFewShapes[] = {{3072, 768}, {8192, 2048}, {2048, 8192}};
  for (const Kind& kind : kMoreIntegers) {
    for (const Shape& s : kFewShapes) {
      for (const int64_t tokens : kTokens) add_i8(kind, s, tokens);
      for (const int64_t tokens : kTokens) add_f32(kind, s, tokens);
    }
    for (const int64_t tokens : {1, 8}) add_i8(kind, kHeads[1], tokens);
  }
  for (const Kind& kind :
       {Kind{"rows_f32", Layout::kRowsF32}, Kind{"rows_f16", Layout::kRowsF16},
        Kind{"rows_bf16", Layout::kRowsBf16}, Kind{"tiles_f16", Layout::kTilesF16}, kInt8, kInt4}) {
    for (const Shape& s : kShapes)
      for (const int64_t tokens : kTokens) add_f32(kind, s, tokens);
    for (const Shape& s : kHeads) add_f32(kind, s, 1);
  }
  for (const int64_t cols : {48, 80, 100, 160, 768, 1536, 2048, 4096, 8192})
    for (const int64_t tokens : kTokens)
      for (const int64_t group : {32, 64}) add_quantize(cols, tokens, group);
}

}  // namespace klens::cpu
