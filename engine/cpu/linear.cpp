// Linear layers and the embedding.
#include <cmath>

#include "engine/cpu/lane.h"
#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/linear/linear_f32.h"
#include "kernels/cpu/linear/linear_i8.h"
#include "kernels/half.h"

namespace klens {
namespace {

// Splits [row tiles] x [tokens] into parts for threads: by outputs where there are enough of them,
// since each part unpacks its weights once; else by tokens too. part(LinearPart).
template <class Part>
void over_tiles(int64_t tiles, int64_t cols, int64_t tokens, const Executor& executor,
                const Part& part) {
  const int64_t enough = executor.threads() * 4;
  const int64_t token_parts = executor.threads() == 1 || tiles >= enough
                                  ? 1
                                  : std::min((tokens + 31) / 32, (enough + tiles - 1) / tiles);
  const int64_t work = kTileOutputs * cols * std::max<int64_t>(tokens / token_parts, 1);
  executor.ranges(tiles * token_parts, work, [&](int64_t begin, int64_t end) {
    // A range may run over several token parts; each is a rectangle of tiles.
    while (begin < end) {
      const int64_t at = begin / tiles, stop = std::min(end, (at + 1) * tiles);
      part(LinearPart{begin - at * tiles, stop - at * tiles, tokens * at / token_parts,
                      tokens * (at + 1) / token_parts});
      begin = stop;
    }
  });
}

// Tokens whose columns are written together, so that whole lines are.
constexpr int64_t kTokensAtOnce = 16;

// columns[c][t] = x[t][c] / sqrt(mean square of x[t]) of some tokens of x, columns [width][tokens],
// and the same in BF16 if there is room for it.
void to_columns(const Rows& x, int64_t first, float* columns, uint16_t* bf16) {
  const int64_t tokens = x.count(), width = x.width();
  const int64_t count = std::min(kTokensAtOnce, tokens - first);
  const float* rows = floats(x) + first * x.stride();
  float scale[kTokensAtOnce];
  for (int64_t t = 0; t < count; ++t) {
    const float* row = rows + t * x.stride();
    double squares = 0;
    for (int64_t c = 0; c < width; ++c) squares += double{row[c]} * row[c];
    scale[t] =
        static_cast<float>(squares > 0 ? std::sqrt(static_cast<double>(width) / squares) : 0);
  }
  for (int64_t c = 0; c < width; ++c) {
    float* column = columns + c * tokens + first;
    for (int64_t t = 0; t < count; ++t) column[t] = rows[t * x.stride() + c] * scale[t];
    if (bf16 == nullptr) continue;
    for (int64_t t = 0; t < count; ++t) bf16[c * tokens + first + t] = f32_to_bf16(column[t]);
  }
}

// sums[c] += x[t][c]^2, in the order of t: threads share out the columns.
void add_squares(const Rows& x, const Rows& sums, const CpuLane& lane) {
  lane.executor().ranges(x.width(), x.count(), [&](int64_t begin, int64_t end) {
    const Timed timed = lane.timed(Step::kElementwise);
    for (int64_t t = 0; t < x.count(); ++t) {
      const float* row = floats(x) + t * x.stride();
      for (int64_t c = begin; c < end; ++c) floats(sums)[c] += row[c] * row[c];
    }
  });
}

using cpu::QuantizeActivationsArgs;

// x minus what its integers stand for: exact where FP32 is, within half an ulp of x otherwise.
void subtract(const QuantizeActivationsArgs& rounded, float* x) {
  for (int64_t first = 0, step = 0; first < rounded.cols; first += rounded.step, ++step) {
    const float scale = rounded.scale[step];
    const int64_t end = std::min(first + rounded.step, rounded.cols);
    for (int64_t c = first; c < end; ++c)
      x[c] = rounded.x[c] - scale * static_cast<float>(rounded.q[c]);
  }
}

// One token in as many planes as there are; those of a plane follow those of the one before.
void round_token(QuantizeActivationsArgs args, int planes) {
  const auto run = cpu::best_variant(cpu::quantize_activations_variants(), cpu::active()).run;
  const int64_t steps = (args.cols + args.step - 1) / args.step;
  run(args);
  for (int p = 1; p < planes; ++p) {
    float* rest = thread_work<struct RestOfToken>(args.cols);
    subtract(args, rest);
    args.x = rest;
    args.q += args.q_stride;
    args.scale += steps;
    args.sum += steps;
    run(args);
  }
}

// y[t] = sum over planes of the product with x's row planes t + p, some outputs at a time, so that
// products stay in cache.
void add_up_planes(const cpu::LinearI8Args& whole, int planes) {
  constexpr int64_t kFew = 8, kTilesAtOnce = 4;
  const auto run = cpu::best_variant(cpu::linear_i8_variants(), cpu::active()).run;
  const int64_t step = whole.tokens <= kFew ? whole.tile_end : kTilesAtOnce;
  for (int64_t tile = 0; tile < whole.tile_end; tile += step) {
    cpu::LinearI8Args args = whole;
    args.w = from_tile(whole.w, tile);
    args.tile_end = std::min(step, whole.tile_end - tile);
    args.tokens = whole.tokens * planes;
    const int64_t outputs = std::min(args.w.rows, args.tile_end * kTileOutputs);
    args.y = thread_work<struct PlaneProducts>(args.tokens * outputs);
    args.y_stride = outputs;
    run(args);
    for (int64_t t = 0; t < whole.tokens; ++t) {
      float* y = whole.y + t * whole.y_stride + tile * kTileOutputs;
      const float* products = args.y + t * planes * outputs;
      for (int64_t n = 0; n < outputs; ++n) y[n] = products[n];
      for (int p = 1; p < planes; ++p)
        for (int64_t n = 0; n < outputs; ++n) y[n] += products[p * outputs + n];
    }
  }
}

void round_input(const Weight& w, LinearInput& x, CpuLane& lane) {
  KLENS_CHECK(w.view.cols == x.x.width());
  lane.look({&w, 1}, x);
  const int64_t group = w.activation_group, tokens = x.x.count(), cols = x.x.width();
  if (group == 0 || x.rounded_for(w) != nullptr) return;
  const int planes = w.activation_planes;
  const int64_t step = w.activation_step(), stride = (cols + 31) / 32 * 32,
                steps = (cols + step - 1) / step;
  auto* q = lane.take_array<int8_t>(tokens * planes * stride);
  auto* scale = lane.take_array<float>(tokens * planes * steps);
  auto* sum = lane.take_array<int32_t>(tokens * planes * steps);
  const auto run = cpu::best_variant(cpu::quantize_activations_variants(), cpu::active()).run;
  lane.executor().ranges(tokens, cols * 2 * planes, [&](int64_t begin, int64_t end) {
    const Timed timed = lane.timed(Step::kQuantize);
    QuantizeActivationsArgs args{.x = floats(x.x) + begin * x.x.stride(),
                                 .x_stride = x.x.stride(),
                                 .tokens = end - begin,
                                 .cols = cols,
                                 .group = group,
                                 .step = step,
                                 .q = q + begin * planes * stride,
                                 .q_stride = stride,
                                 .scale = scale + begin * planes * steps,
                                 .sum = sum + begin * planes * steps};
    if (planes == 1) return run(args);
    for (args.tokens = 1; begin < end; ++begin) {
      round_token(args, planes);
      args.x += args.x_stride;
      args.q += planes * stride;
      args.scale += planes * steps;
      args.sum += planes * steps;
    }
  });
  x.rounded.push_back({.group = group,
                       .step = step,
                       .stride = stride,
                       .planes = planes,
                       .q = reinterpret_cast<uint64_t>(q),
                       .scale = reinterpret_cast<uint64_t>(scale),
                       .sum = reinterpret_cast<uint64_t>(sum)});
}

// A part of one unit, with its share of the bias.
void unit_part(const Weight& w, const LinearInput& input, const float* bias, float* y,
               int64_t y_stride, const LinearPart& part) {
  const WeightView view = from_tile(w.view, part.tile_begin);
  const int64_t tokens = part.t_end - part.t_begin, tiles = part.tile_end - part.tile_begin;
  if (const LinearInput::Rounded* x = input.rounded_for(w); x != nullptr) {
    const int64_t steps = (input.x.width() + x->step - 1) / x->step;
    const int64_t row = part.t_begin * x->planes;
    const cpu::LinearI8Args args{.w = view,
                                 .x = pointer<int8_t>(x->q) + row * x->stride,
                                 .x_stride = x->stride,
                                 .x_scale = pointer(x->scale) + row * steps,
                                 .x_sum = pointer<int32_t>(x->sum) + row * steps,
                                 .x_group = x->step,
                                 .y = y,
                                 .y_stride = y_stride,
                                 .tokens = tokens,
                                 .tile_begin = 0,
                                 .tile_end = tiles};
    if (x->planes == 1)
      cpu::best_variant(cpu::linear_i8_variants(), cpu::active()).run(args);
    else
      add_up_planes(args, x->planes);
  } else {
    const auto run = cpu::best_variant(cpu::linear_f32_variants(), cpu::active()).run;
    run({.w = view,
         .x = floats(input.x) + part.t_begin * input.x.stride(),
         .x_stride = input.x.stride(),
         .y = y,
         .y_stride = y_stride,
         .tokens = tokens,
         .tile_begin = 0,
         .tile_end = tiles,
         .rounded = w.bf16});
  }
  if (bias == nullptr) return;
  bias += part.tile_begin * kTileOutputs;
  const int64_t outputs = std::min(view.rows, tiles * kTileOutputs);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t n = 0; n < outputs; ++n) y[t * y_stride + n] += bias[n];
}

}  // namespace

void round_input(std::span<const Weight> units, LinearInput& x, CpuLane& lane) {
  for (const Weight& w : units) round_input(w, x, lane);
}

void linear_part(std::span<const Weight> units, const LinearInput& x, const float* bias, float* y,
                 int64_t y_stride, const LinearPart& part, const CpuLane& lane) {
  const Timed timed = lane.timed(Step::kLinear);
  int64_t first = 0;  // the unit's first tile
  for (const Weight& w : units) {
    const int64_t begin = std::max(part.tile_begin, first);
    const int64_t end = std::min(part.tile_end, first + w.view.row_tiles());
    if (begin < end)
      unit_part(w, x, bias == nullptr ? nullptr : bias + first * kTileOutputs,
                y + (begin - part.tile_begin) * kTileOutputs, y_stride,
                {begin - first, end - first, part.t_begin, part.t_end});
    first += w.view.row_tiles();
  }
}

void CpuLane::look(std::span<const Weight> units, LinearInput& x) {
  for (const Weight& w : units) {
    if (!w.input_squares.none()) add_squares(x.x, w.input_squares, *this);
    if (!w.input_products.none()) add_products(x.x, w.input_products, w.bf16);
  }
}

void CpuLane::linear(std::span<const Weight> units, LinearInput& x, const Rows& bias,
                     const Rows& y) {
  int64_t outputs = 0, tiles = 0;
  for (const Weight& w : units) {
    outputs += w.view.rows;
    tiles += w.view.row_tiles();
  }
  KLENS_CHECK(y.width() == outputs && y.count() == x.x.count());
  round_input(units, x, *this);
  over_tiles(tiles, x.x.width(), x.x.count(), executor_, [&](const LinearPart& part) {
    linear_part(units, x, or_null(bias),
                floats(y) + part.t_begin * y.stride() + part.tile_begin * kTileOutputs, y.stride(),
                part, *this);
  });
}

// As a linear layer of the columns by themselves, in strips of outputs, from the diagonal on.
void CpuLane::add_products(const Rows& x, const Rows& sums, bool rounded) {
  const int64_t tokens = x.count(), width = x.width(), strips = (width + kStrip - 1) / kStrip;
  const Frame frame(*this);
  float* columns = take_array<float>(width * tokens);
  uint16_t* bf16 = rounded ? take_array<uint16_t>(width * tokens) : nullptr;
  over_rows((tokens + kTokensAtOnce - 1) / kTokensAtOnce, width * kTokensAtOnce,
            [&](int64_t begin, int64_t end) {
              for (int64_t part = begin; part < end; ++part)
                to_columns(x, part * kTokensAtOnce, columns, bf16);
            });
  WeightView view{.layout = Layout::kRowsF32, .rows = width, .cols = tokens, .data = columns};
  if (rounded) {
    view.layout = Layout::kRowsBf16;
    view.data = bf16;
  }
  const auto run = cpu::best_variant(cpu::linear_f32_variants(), cpu::active()).run;
  executor_.ranges(strips, kStrip * width * tokens, [&](int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kElementwise);
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * kStrip, count = width - first;
      const int64_t outputs = std::min(kStrip, count);
      float* products = thread_work(count * kStrip);
      run({.w = from_tile(view, first / kTileOutputs),
           .x = columns + first * tokens,
           .x_stride = tokens,
           .y = products,
           .y_stride = kStrip,
           .tokens = count,
           .tile_begin = 0,
           .tile_end = (outputs + kTileOutputs - 1) / kTileOutputs,
           .rounded = rounded});
      for (int64_t i = 0; i < count; ++i) {
        float* sum = floats(sums) + (first + i) * sums.stride() + first;
        for (int64_t j = 0; j < outputs; ++j) sum[j] += products[i * kStrip + j];
      }
    }
  });
}

void CpuLane::embed(std::span<const Weight> table, std::span<const int32_t> ids, float scale,
                    const Rows& y) {
  const int64_t cols = table.front().view.cols;
  over_rows(static_cast<int64_t>(ids.size()), cols * 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = floats(y) + t * y.stride();
      int64_t id = ids[static_cast<size_t>(t)];
      auto part = table.begin();
      for (; id >= part->view.rows; ++part) id -= part->view.rows;
      expand_row(part->view, id, row);
      if (scale == 1) continue;
      for (int64_t i = 0; i < cols; ++i) row[i] *= scale;
    }
  });
}

}  // namespace klens
