#include "loaders/gguf/repack.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>

#include "kernels/half.h"
#include "loaders/gguf/block_types.h"
#include "loaders/gguf/recipe_rows.h"
#include "quant/quantizers/pack.h"

namespace klens {
namespace {

// Bytes of the file that a thread reads before it lets go of them.
constexpr int64_t kPart = 1 << 20;

const Format* format_of(const GgufBlockType& type) {
  const auto* row = std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& f) {
    return f.layout == type.layout && f.group == type.group && f.minimum == type.minimum;
  });
  return row == std::end(kFormats) ? nullptr : row;
}

// Where the numbers of one unit go.
class Target {
 public:
  Target(const Format& format, int64_t rows, int64_t cols, std::byte* to)
      : view_(packed_view(format, rows, cols, to, to + weight_bytes(format, rows, cols))),
        levels_(levels_of(format)) {}

  const WeightView& view() const { return view_; }
  size_t codes() const { return static_cast<size_t>(view_.col_tiles() * tile_cols(view_.layout)); }

  // The file's row `source` becomes row `row`. codes: room for codes(), reused.
  bool put(int64_t row, const RecipeRows::Row& source, uint8_t* codes) const {
    const GgufBlockType& type = *find_block_type(source.part->tensor->type);
    const GgmlTypeInfo& info = ggml_type_info(type.type);
    const auto* bytes = reinterpret_cast<const uint8_t*>(source.bytes.data());
    GgufBlock block;
    bool fits = true;
    int64_t group = 0;
    for (int64_t begin = 0; begin < view_.cols; begin += info.block, bytes += info.bytes) {
      type.decode(bytes, block);
      fits = put_integers(block.q, info.block, codes + begin) && fits;
      for (int64_t g = 0; g < info.block / type.group; ++g, ++group)
        fits = put_numbers(type, block, g, place(row, group)) && fits;
    }
    put_codes(codes, view_, row % kTileOutputs, tiles(row));
    return fits;
  }

  // A row that only fills up the last tile.
  void put_padding(int64_t row, uint8_t* codes) const {
    std::fill_n(codes, this->codes(), static_cast<uint8_t>(levels_.offset));
    put_codes(codes, view_, row % kTileOutputs, tiles(row));
  }

 private:
  std::byte* tiles(int64_t row) const {
    return static_cast<std::byte*>(const_cast<void*>(view_.data)) +
           row / kTileOutputs * view_.col_tiles() * tile_bytes(view_.layout);
  }
  int64_t place(int64_t row, int64_t group) const {
    return (row / kTileOutputs * view_.groups() + group) * kTileOutputs + row % kTileOutputs;
  }

  // Written so that compilers make vectors of it. Only one integer is not in every layout's range.
  bool put_integers(const int8_t* q, int64_t count, uint8_t* codes) const {
    const auto offset = static_cast<uint8_t>(levels_.offset);
    unsigned bad = 0;
    for (int64_t i = 0; i < count; ++i) {
      bad |= static_cast<unsigned>(q[i] == INT8_MIN);
      codes[i] = static_cast<uint8_t>(static_cast<uint8_t>(q[i]) + offset);
    }
    return bad == 0;
  }

  bool put_numbers(const GgufBlockType& type, const GgufBlock& block, int64_t g, int64_t at) const {
    const uint16_t scale = f32_to_f16(block.scale[g]);
    const_cast<uint16_t*>(view_.scale)[at] = scale;
    const int8_t* q = block.q + g * type.group;
    // What multiplies zeros alone need not be exact.
    const bool holds = type.rounds || f16_to_f32(scale) == block.scale[g] ||
                       std::all_of(q, q + type.group, [](int8_t one) { return one == 0; });
    if (!type.minimum) return holds && is_finite(scale);
    const uint16_t min = f32_to_f16(block.min[g]);
    const_cast<uint16_t*>(view_.min)[at] = min;
    return holds && is_finite(scale) && is_finite(min);
  }

  static bool is_finite(uint16_t half) { return (half & 0x7c00u) != 0x7c00u; }

  WeightView view_;
  Levels levels_;
};

}  // namespace

const Format* stored_format(const TensorRecipe& recipe) {
  const Format* common = nullptr;
  for (const GgufRows& part : recipe.parts) {
    const GgufBlockType* type = find_block_type(part.tensor->type);
    const Format* format = type == nullptr ? nullptr : format_of(*type);
    if (format == nullptr || (common != nullptr && format != common)) return nullptr;
    common = format;
  }
  return recipe.negated_log ? nullptr : common;
}

bool repack(const TensorRecipe& recipe, const Format& format, int64_t first, int64_t rows,
            std::byte* to) {
  const RecipeRows source(recipe);
  const int64_t cols = recipe.parts.front().cols;
  const Target target(format, rows, cols, to);
  const auto of_tile = static_cast<int64_t>(row_bytes(recipe.parts.front())) * kTileOutputs;
  const tbb::blocked_range<int64_t> tiles(
      0, target.view().row_tiles(), static_cast<size_t>(std::max<int64_t>(kPart / of_tile, 1)));
  std::atomic<bool> fits = true;
  tbb::parallel_for(
      tiles,
      [&](const tbb::blocked_range<int64_t>& range) {
        std::vector<uint8_t> codes(target.codes(), 0);
        ReadPages pages;
        for (int64_t row = range.begin() * kTileOutputs; row < range.end() * kTileOutputs; ++row) {
          if (row >= rows) {
            target.put_padding(row, codes.data());
            continue;
          }
          const RecipeRows::Row from = source.at(first + row);
          if (!target.put(row, from, codes.data())) fits = false;
          pages.add(from);
        }
      },
      tbb::simple_partitioner());
  return fits;
}

}  // namespace klens
