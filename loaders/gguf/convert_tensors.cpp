#include "loaders/gguf/convert_tensors.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "loaders/gguf/dequantize.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

constexpr const char* kAgain = "; convert the model again";

// The type of a stored tensor as it is; nothing for the quantised types.
std::optional<DType> plain_type(GgmlType type) {
  if (type == GgmlType::kF32) return DType::kF32;
  if (type == GgmlType::kF16) return DType::kF16;
  if (type == GgmlType::kBf16) return DType::kBf16;
  return std::nullopt;
}

size_t row_bytes(const GgufRows& part) {
  const GgmlTypeInfo& info = ggml_type_info(part.tensor->type);
  return static_cast<size_t>(part.cols / info.block) * info.bytes;
}

const std::byte* row_data(const GgufRows& part, int64_t row) {
  return part.tensor->bytes.data() + static_cast<size_t>(part.first + row) * row_bytes(part);
}

// What the parts have in common: their type, FP16 if they are quantised or FP16, else FP32.
DType common_type(const TensorRecipe& recipe) {
  if (recipe.negated_log) return DType::kF32;
  const DType first = plain_type(recipe.parts.front().tensor->type).value_or(DType::kF16);
  for (const GgufRows& part : recipe.parts)
    if (plain_type(part.tensor->type).value_or(DType::kF16) != first) return DType::kF32;
  return first;
}

bool stays_mapped(const TensorRecipe& recipe) {
  return recipe.parts.size() == 1 && recipe.paired_heads == 0 && !recipe.negated_log &&
         plain_type(recipe.parts.front().tensor->type);
}

enum class Fault { kNone, kOutOfRange, kNotNegative };

// One tensor that has to be made.
class Conversion {
 public:
  Conversion(const TensorRecipe& recipe, DType type, std::byte* target)
      : recipe_(recipe), type_(type), target_(target) {}

  int64_t rows() const {
    int64_t count = 0;
    for (const GgufRows& part : recipe_.parts) count += part.count;
    return count;
  }

  // Makes the rows from `begin` on.
  void run(int64_t begin, int64_t end) {
    const int64_t cols = recipe_.parts.front().cols;
    std::vector<float> values(static_cast<size_t>(cols));
    int64_t passed = 0;
    for (const GgufRows& part : recipe_.parts) {
      for (int64_t row = std::max(begin, passed); row < std::min(end, passed + part.count); ++row)
        make_row(part, source_row(row) - passed, row, values);
      passed += part.count;
    }
  }

  Fault fault() const { return fault_; }
  const TensorRecipe& recipe() const { return recipe_; }

 private:
  // Where row `row` of the checkpoint's tensor stands in the file's.
  int64_t source_row(int64_t row) const {
    if (recipe_.paired_heads == 0) return row;
    const int64_t head_dim = rows() / recipe_.paired_heads, half = head_dim / 2;
    const int64_t head = row / head_dim, channel = row % head_dim;
    return head * head_dim + channel % half * 2 + channel / half;
  }

  void make_row(const GgufRows& part, int64_t from, int64_t to, std::vector<float>& values) {
    const std::byte* source = row_data(part, from);
    const size_t count = values.size();
    const size_t each = type_ == DType::kF32 ? 4 : 2;
    std::byte* target = target_ + static_cast<size_t>(to) * count * each;
    if (plain_type(part.tensor->type) == type_ && !recipe_.negated_log) {
      std::memcpy(target, source, count * each);
      return;
    }
    dequantize_row(part.tensor->type, source, part.cols, values.data());
    if (recipe_.negated_log)
      for (float& value : values) value = log_of_negated(value);
    if (type_ == DType::kF32) {
      std::memcpy(target, values.data(), count * each);
    } else if (!row_to_f16(values.data(), part.cols, reinterpret_cast<uint16_t*>(target))) {
      fault_ = Fault::kOutOfRange;
    }
  }

  float log_of_negated(float value) {
    if (!(value < 0)) fault_ = Fault::kNotNegative;
    return static_cast<float>(std::log(-static_cast<double>(value)));
  }

  const TensorRecipe& recipe_;
  DType type_;
  std::byte* target_;
  std::atomic<Fault> fault_ = Fault::kNone;
};

void check_shape(const std::string& file, const TensorRecipe& recipe) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile, file + ": tensor " + recipe.source + " " + what + kAgain);
  };
  int64_t rows = 0, elements = 1;
  for (const GgufRows& part : recipe.parts) {
    rows += part.count;
    // A vector taken for a column has no blocks of its own.
    if (part.cols % ggml_type_info(part.tensor->type).block != 0)
      fail(std::string("has type ") + ggml_type_info(part.tensor->type).name +
           ", which its use does not allow");
  }
  for (const int64_t extent : recipe.shape) elements *= extent;
  if (elements != rows * recipe.parts.front().cols)
    fail("does not hold what " + recipe.name + " of shape " + shape_text(recipe.shape) + " needs");
  if (recipe.paired_heads != 0 && rows % (2 * recipe.paired_heads) != 0)
    fail("has " + std::to_string(rows) + " rows, which " + std::to_string(recipe.paired_heads) +
         " heads of whole pairs do not make up");
}

// The types of all parts, such as "q4_k+q6_k", and their bytes.
void describe_stored(const TensorRecipe& recipe, TensorSource::Entry& entry) {
  std::vector<GgmlType> types;
  for (const GgufRows& part : recipe.parts) {
    const GgmlType type = part.tensor->type;
    entry.stored_bytes += static_cast<size_t>(part.count) * row_bytes(part);
    entry.quantised = entry.quantised || !plain_type(type);
    if (std::find(types.begin(), types.end(), type) != types.end()) continue;
    types.push_back(type);
    entry.stored_type += (entry.stored_type.empty() ? "" : "+");
    for (const char c : std::string_view(ggml_type_info(type).name))
      entry.stored_type += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
}

void run_all(std::vector<std::unique_ptr<Conversion>>& conversions) {
  for (const auto& conversion : conversions)
    tbb::parallel_for(tbb::blocked_range<int64_t>(0, conversion->rows(), 64),
                      [&](const tbb::blocked_range<int64_t>& range) {
                        conversion->run(range.begin(), range.end());
                      });
}

// Tensors with values that FP16 does not reach are made anew, in FP32.
void widen(const std::string& file, std::vector<std::unique_ptr<Conversion>>& conversions,
           TensorSource& source) {
  std::vector<std::unique_ptr<Conversion>> wide;
  for (auto& conversion : conversions) {
    if (conversion->fault() != Fault::kOutOfRange) continue;
    const TensorRecipe& recipe = conversion->recipe();
    TensorView& view = source.tensors.at(recipe.name).view;
    AlignedBuffer& copy =
        source.copies.emplace_back(static_cast<size_t>(view.elements()) * sizeof(float));
    view.dtype = DType::kF32;
    view.bytes = {copy.data(), copy.size()};
    conversion = std::make_unique<Conversion>(recipe, DType::kF32, copy.data());
    wide.push_back(std::make_unique<Conversion>(recipe, DType::kF32, copy.data()));
  }
  run_all(wide);
  for (const auto& conversion : wide)
    refuse_non_finite(source.tensors.at(conversion->recipe().name).view,
                      file + ": tensor " + conversion->recipe().source);
}

}  // namespace

void convert_tensors(const std::string& file, std::span<const TensorRecipe> recipes,
                     TensorSource& source) {
  std::vector<std::unique_ptr<Conversion>> conversions;
  for (const TensorRecipe& recipe : recipes) {
    check_shape(file, recipe);
    const GgufRows& first = recipe.parts.front();
    TensorView view{.dtype = common_type(recipe), .shape = recipe.shape, .bytes = {}};
    if (stays_mapped(recipe)) {
      view.bytes = {row_data(first, 0), static_cast<size_t>(first.count) * row_bytes(first)};
    } else {
      const size_t each = view.dtype == DType::kF32 ? 4 : 2;
      AlignedBuffer& copy = source.copies.emplace_back(static_cast<size_t>(view.elements()) * each);
      view.bytes = {copy.data(), copy.size()};
      conversions.push_back(std::make_unique<Conversion>(recipe, view.dtype, copy.data()));
    }
    TensorSource::Entry entry{std::move(view), file};
    describe_stored(recipe, entry);
    if (!source.tensors.emplace(recipe.name, std::move(entry)).second)
      throw Error(ErrorKind::kBadFile,
                  file + ": tensor " + recipe.source + " is there in two spellings" + kAgain);
  }
  run_all(conversions);
  widen(file, conversions, source);
  for (const auto& conversion : conversions) {
    const std::string where = file + ": tensor " + conversion->recipe().source;
    if (conversion->fault() == Fault::kNotNegative)
      throw Error(ErrorKind::kBadFile,
                  where + " holds a value that is not negative, A must be" + std::string(kAgain));
  }
}

}  // namespace klens
