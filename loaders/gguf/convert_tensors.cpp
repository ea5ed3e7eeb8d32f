#include "loaders/gguf/convert_tensors.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "loaders/gguf/dequantize.h"
#include "loaders/gguf/recipe_rows.h"
#include "loaders/gguf/repack.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

// The type of a stored tensor as it is; nothing for the quantised types.
std::optional<DType> plain_type(GgmlType type) {
  if (type == GgmlType::kF32) return DType::kF32;
  if (type == GgmlType::kF16) return DType::kF16;
  if (type == GgmlType::kBf16) return DType::kBf16;
  return std::nullopt;
}

// What the parts have in common: their type, FP16 if they are quantised or FP16, else FP32.
DType common_type(const TensorRecipe& recipe) {
  if (recipe.negated_log) return DType::kF32;
  const DType first = plain_type(recipe.parts.front().tensor->type).value_or(DType::kF16);
  for (const GgufRows& part : recipe.parts)
    if (plain_type(part.tensor->type).value_or(DType::kF16) != first) return DType::kF32;
  return first;
}

// Matrices, as they are. A norm's page would stay, and 64 KiB or 2 MiB around it, among those of
// quantised matrices, which are let go.
bool stays_mapped(const TensorRecipe& recipe) {
  return recipe.shape.size() > 1 && recipe.parts.size() == 1 && recipe.paired_heads == 0 &&
         !recipe.negated_log && plain_type(recipe.parts.front().tensor->type);
}

enum class Fault { kNone, kOutOfRange, kNotNegative };

// One tensor that has to be made.
class Conversion {
 public:
  Conversion(const TensorRecipe& recipe, DType type, std::byte* target)
      : recipe_(recipe), rows_(recipe), type_(type), target_(target) {}

  int64_t rows() const { return rows_.count(); }

  // Makes the rows from `begin` on.
  void run(int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>(recipe_.parts.front().cols));
    ReadPages pages;
    for (int64_t row = begin; row < end; ++row) {
      const RecipeRows::Row from = rows_.at(row);
      make_row(from, row, values);
      pages.add(from);
    }
  }

  Fault fault() const { return fault_; }
  const TensorRecipe& recipe() const { return recipe_; }

 private:
  void make_row(const RecipeRows::Row& from, int64_t to, std::vector<float>& values) {
    const GgmlType stored = from.part->tensor->type;
    const size_t count = values.size();
    const size_t each = type_ == DType::kF32 ? 4 : 2;
    std::byte* target = target_ + static_cast<size_t>(to) * count * each;
    if (plain_type(stored) == type_ && !recipe_.negated_log) {
      std::memcpy(target, from.bytes.data(), count * each);
      return;
    }
    dequantize_row(stored, from.bytes.data(), from.part->cols, values.data());
    if (recipe_.negated_log)
      for (float& value : values) value = log_of_negated(value);
    if (type_ == DType::kF32) {
      std::memcpy(target, values.data(), count * each);
    } else if (!row_to_f16(values.data(), from.part->cols, reinterpret_cast<uint16_t*>(target))) {
      fault_ = Fault::kOutOfRange;
    }
  }

  float log_of_negated(float value) {
    if (!(value < 0)) fault_ = Fault::kNotNegative;
    return static_cast<float>(std::log(-static_cast<double>(value)));
  }

  const TensorRecipe& recipe_;
  RecipeRows rows_;
  DType type_;
  std::byte* target_;
  std::atomic<Fault> fault_ = Fault::kNone;
};

// The file that holds a tensor; `parsed` where it is none.
std::string file_of(const std::string& parsed, const TensorRecipe& recipe) {
  const auto& file = recipe.parts.front().tensor->file;
  return file == nullptr ? parsed : file->path();
}

void check_shape(const std::string& file, const TensorRecipe& recipe) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile,
                file + ": tensor " + recipe.source + " " + what + kConvertAgain);
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
void widen(std::vector<std::unique_ptr<Conversion>>& conversions, TensorSource& source) {
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
  for (const auto& conversion : wide) {
    const TensorSource::Entry& entry = source.tensors.at(conversion->recipe().name);
    refuse_non_finite(entry.view, entry.file + ": tensor " + conversion->recipe().source);
  }
}

// The units of each tensor that nothing but units is made of.
using UnitsOf = std::map<std::string, std::vector<const LinearSpec*>>;

UnitsOf units_of_tensors(const ModelSpec& spec) {
  UnitsOf units;
  for (const LinearSpec& unit : spec.units) units[unit.tensor].push_back(&unit);
  for (const SmallSpec& small : spec.smalls) units.erase(small.tensor);
  return units;
}

// A tensor whose units take over the integers that the file has.
struct Repacking {
  const TensorRecipe* recipe;
  const Format* format;
  std::vector<const LinearSpec*> units;
  std::vector<AlignedBuffer> made;  // one for each
  bool fits = true;

  void run() {
    made.resize(units.size());
    for (size_t i = 0; i < units.size() && fits; ++i) {
      const LinearSpec& unit = *units[i];
      made[i] = AlignedBuffer(packed_bytes(*format, unit.rows, unit.cols));
      fits = repack(*recipe, *format, unit.first_row, unit.rows, made[i].data());
    }
    if (!fits) made.clear();
  }
};

// Takes out of `recipes` what can be taken over as it is, and does so.
std::vector<Repacking> take_over(std::vector<const TensorRecipe*>& recipes, const ModelSpec& spec) {
  const UnitsOf units = units_of_tensors(spec);
  std::vector<Repacking> all;
  for (const TensorRecipe* recipe : recipes) {
    const auto found = units.find(recipe->name);
    const Format* format = stored_format(*recipe);
    if (format == nullptr || found == units.end()) continue;
    const bool shapes = std::ranges::all_of(
        found->second, [&](const LinearSpec* unit) { return recipe->shape == unit->tensor_shape; });
    if (shapes) all.push_back({recipe, format, found->second, {}});
  }
  tbb::parallel_for(size_t{0}, all.size(), [&](size_t i) { all[i].run(); });
  std::erase_if(all, [](const Repacking& one) { return !one.fits; });
  std::set<const TensorRecipe*> done;
  for (const Repacking& one : all) done.insert(one.recipe);
  std::erase_if(recipes, [&](const TensorRecipe* recipe) { return done.contains(recipe); });
  return all;
}

void add_entry(const std::string& file, const TensorRecipe& recipe, const TensorView& view,
               TensorSource& source) {
  TensorSource::Entry entry{view, file};
  describe_stored(recipe, entry);
  if (!source.tensors.emplace(recipe.name, std::move(entry)).second)
    throw Error(ErrorKind::kBadFile,
                file + ": tensor " + recipe.source + " is there in two spellings" + kConvertAgain);
}

void add_packed(Repacking& done, TensorSource& source) {
  for (size_t i = 0; i < done.units.size(); ++i) {
    const LinearSpec& unit = *done.units[i];
    const std::byte* data = source.copies.emplace_back(std::move(done.made[i])).data();
    const std::byte* scale = data + weight_bytes(*done.format, unit.rows, unit.cols);
    source.packed[unit.name] = {done.format,
                                packed_view(*done.format, unit.rows, unit.cols, data, scale)};
  }
}

// Of what was made anew, the pages in the file. Each row's were let go already, but what is read
// next to them maps some again: as much as a sixth of a file.
void let_go(const TensorRecipe& recipe) {
  for (const GgufRows& part : recipe.parts)
    if (part.tensor->file != nullptr) part.tensor->file->let_go(part.tensor->bytes);
}

}  // namespace

void convert_tensors(const std::string& file, std::span<const TensorRecipe> recipes,
                     const ModelSpec& spec, TensorSource& source) {
  std::vector<const TensorRecipe*> left;
  for (const TensorRecipe& recipe : recipes) {
    check_shape(file_of(file, recipe), recipe);
    left.push_back(&recipe);
  }
  for (Repacking& done : take_over(left, spec)) {
    add_entry(file_of(file, *done.recipe), *done.recipe,
              {.dtype = DType::kF16, .shape = done.recipe->shape, .bytes = {}}, source);
    add_packed(done, source);
    let_go(*done.recipe);
  }
  std::vector<std::unique_ptr<Conversion>> conversions;
  for (const TensorRecipe* recipe : left) {
    const GgufRows& first = recipe->parts.front();
    TensorView view{.dtype = common_type(*recipe), .shape = recipe->shape, .bytes = {}};
    if (stays_mapped(*recipe)) {
      const size_t bytes = row_bytes(first);
      view.bytes = first.tensor->bytes.subspan(static_cast<size_t>(first.first) * bytes,
                                               static_cast<size_t>(first.count) * bytes);
    } else {
      const size_t each = view.dtype == DType::kF32 ? 4 : 2;
      AlignedBuffer& copy = source.copies.emplace_back(static_cast<size_t>(view.elements()) * each);
      view.bytes = {copy.data(), copy.size()};
      conversions.push_back(std::make_unique<Conversion>(*recipe, view.dtype, copy.data()));
    }
    add_entry(file_of(file, *recipe), *recipe, view, source);
  }
  run_all(conversions);
  widen(conversions, source);
  for (const auto& conversion : conversions) let_go(conversion->recipe());
  for (const auto& conversion : conversions)
    if (conversion->fault() == Fault::kNotNegative)
      throw Error(ErrorKind::kBadFile, file_of(file, conversion->recipe()) + ": tensor " +
                                           conversion->recipe().source +
                                           " holds a value that is not negative, A must be" +
                                           std::string(kConvertAgain));
}

}  // namespace klens
