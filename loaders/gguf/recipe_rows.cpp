#include "loaders/gguf/recipe_rows.h"

#include <algorithm>

namespace klens {

RecipeRows::RecipeRows(const TensorRecipe& recipe) : recipe_(recipe), begins_{0} {
  for (const GgufRows& part : recipe.parts) begins_.push_back(begins_.back() + part.count);
}

RecipeRows::Row RecipeRows::at(int64_t row) const {
  const int64_t from = source_row(row);
  const auto next = std::upper_bound(begins_.begin(), begins_.end(), from);
  const auto index = static_cast<size_t>(next - begins_.begin()) - 1;
  const GgufRows& part = recipe_.parts[index];
  const size_t bytes = row_bytes(part);
  const auto in_file = static_cast<size_t>(part.first + from - begins_[index]);
  return {&part, part.tensor->bytes.subspan(in_file * bytes, bytes)};
}

// Of all parts together.
int64_t RecipeRows::source_row(int64_t row) const {
  if (recipe_.paired_heads == 0) return row;
  const int64_t head_dim = count() / recipe_.paired_heads, half = head_dim / 2;
  const int64_t head = row / head_dim, channel = row % head_dim;
  return head * head_dim + channel % half * 2 + channel / half;
}

size_t row_bytes(const GgufRows& part) {
  const GgmlTypeInfo& info = ggml_type_info(part.tensor->type);
  return static_cast<size_t>(part.cols / info.block) * info.bytes;
}

void ReadPages::add(const RecipeRows::Row& row) {
  const std::byte *begin = row.bytes.data(), *end = begin + row.bytes.size();
  if (row.part != part_) {
    let_go();
    part_ = row.part;
    begin_ = begin;
    end_ = end;
  }
  begin_ = std::min(begin_, begin);
  end_ = std::max(end_, end);
}

void ReadPages::let_go() {
  if (part_ != nullptr && part_->tensor->file != nullptr)
    part_->tensor->file->let_go({begin_, end_});
  part_ = nullptr;
}

}  // namespace klens
