#include "quant/quantizers/gptq.h"

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/half.h"
#include "quant/product.h"
#include "quant/quantizers/pack.h"
#include "quant/quantizers/search.h"

namespace klens {
namespace {

// Outputs that are rounded together, so that what they lose is multiplied as matrices, at most.
constexpr int64_t kStripTiles = 8;
// Columns between which errors are handed on one by one.
constexpr int64_t kColumnsAtOnce = 32;

// A strip of outputs, its columns in the factor's order.
class Strip {
 public:
  Strip(const InputFactor& factor, const GridSearch& search, IntegerPacker& packer, int64_t first,
        int64_t count, int64_t cols)
      : factor_(factor),
        search_(search),
        packer_(packer),
        first_(first),
        weights_(count, cols),
        errors_(RowMatrix::Zero(count, cols)),
        codes_(static_cast<size_t>(count), packer.blank_codes()) {
    std::vector<float> room(static_cast<size_t>(cols));
    for (int64_t r = 0; r < count; ++r) {
      const float* w = packer.read(first + r, room);
      for (int64_t i = 0; i < cols; ++i) weights_(r, i) = w[column(i)];
    }
  }

  void round() {
    for (int64_t i = 0; i < weights_.cols();) {
      const int64_t group = column(i) / packer_.group();
      const int64_t size = std::min(packer_.group(), weights_.cols() - group * packer_.group());
      round_group(group, i, size);
      i += size;
    }
    for (int64_t r = 0; r < weights_.rows(); ++r)
      packer_.put(first_ + r, codes_[static_cast<size_t>(r)].data());
  }

 private:
  int64_t column(int64_t i) const { return factor_.order[static_cast<size_t>(i)]; }

  // What is to be rounded at places [at, at + size): the weights, and what those at [from, at) lost
  // as far as it can be made good here. `due` has that of all before `from`.
  RowMatrix due_at(const RowMatrix& due, int64_t from, int64_t at, int64_t size) const {
    RowMatrix feedback(size, at - from);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t k = from; k < at; ++k)
        feedback(i, k - from) = bf16_to_f32(factor_.row(at + i)[k]);
    RowMatrix sum = due.middleCols(at - from, size);
    sum += times_transposed(errors_.middleCols(from, at - from), feedback);
    return sum;
  }

  void round_group(int64_t group, int64_t begin, int64_t size) {
    const RowMatrix due = due_at(weights_, 0, begin, size);
    std::vector<Grid> grids;
    for (int64_t r = 0; r < due.rows(); ++r)
      grids.push_back(packer_.put_grid(
          first_ + r, group,
          search_.best({&due(r, 0), static_cast<size_t>(size)}, factor_.d.data() + begin)));
    for (int64_t at = begin; at < begin + size; at += kColumnsAtOnce) {
      const RowMatrix block = due_at(due, begin, at, std::min(kColumnsAtOnce, begin + size - at));
      const RowMatrix feedback = feedback_within(at, block.cols());
      for (int64_t r = 0; r < block.rows(); ++r)
        round_block(r, grids[static_cast<size_t>(r)], at, block, feedback);
    }
  }

  // What a loss at a place, by rows, means to those after it in the same block.
  RowMatrix feedback_within(int64_t begin, int64_t size) const {
    RowMatrix feedback = RowMatrix::Zero(size, size);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t k = 0; k < i; ++k)
        feedback(k, i) = bf16_to_f32(factor_.row(begin + i)[begin + k]);
    return feedback;
  }

  // One output's weights at [begin, begin + due.cols()), in order. A loss is handed on to all that
  // follow at once, in vectors.
  void round_block(int64_t r, const Grid& grid, int64_t begin, const RowMatrix& due,
                   const RowMatrix& feedback) {
    const Levels& levels = packer_.levels();
    const auto lowest = static_cast<float>(levels.lowest);
    const auto highest = static_cast<float>(levels.highest);
    const int64_t size = due.cols();
    uint8_t* codes = codes_[static_cast<size_t>(r)].data();
    float* lost = &errors_(r, begin);
    std::array<float, kColumnsAtOnce> x;
    std::copy_n(&due(r, 0), size, x.begin());
    for (int64_t i = 0; i < size; ++i) {
      const float inside =
          std::clamp((x[static_cast<size_t>(i)] - grid.min) / grid.scale, lowest, highest);
      const float q = (inside + 0x1.8p23f) - 0x1.8p23f;  // to even
      codes[column(begin + i)] = static_cast<uint8_t>(static_cast<int32_t>(q) + levels.offset);
      lost[i] = weights_(r, begin + i) - (grid.scale * q + grid.min);
      const float* to = &feedback(i, 0);
      for (int64_t k = i + 1; k < size; ++k) x[static_cast<size_t>(k)] += lost[i] * to[k];
    }
  }

  const InputFactor& factor_;
  const GridSearch& search_;
  IntegerPacker& packer_;
  int64_t first_;
  RowMatrix weights_, errors_;  // [outputs][cols], in the factor's order
  std::vector<std::vector<uint8_t>> codes_;
};

}  // namespace

PackedWeight quantize_gptq(const Format& format, const WeightView& source,
                           const InputStats& inputs) {
  if (format.group == 0 || inputs.factor == nullptr) return quantize_search(format, source, inputs);
  const GridSearch search(levels_of(format), format.minimum);
  IntegerPacker packer(format, source);
  const int64_t tiles = (source.rows + kTileOutputs - 1) / kTileOutputs;
  const int64_t threads = tbb::this_task_arena::max_concurrency();
  const int64_t size =
      std::clamp((tiles + threads - 1) / threads, int64_t{1}, kStripTiles) * kTileOutputs;
  tbb::parallel_for(int64_t{0}, (source.rows + size - 1) / size, [&](int64_t strip) {
    const int64_t first = strip * size, count = std::min(size, source.rows - first);
    Strip(*inputs.factor, search, packer, first, count, source.cols).round();
  });
  return packer.take();
}

}  // namespace klens
