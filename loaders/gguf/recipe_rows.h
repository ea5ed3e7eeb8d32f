#pragma once
#include <cstddef>
#include <vector>

#include "loaders/gguf/mapping.h"

namespace klens {

// The rows of a checkpoint's tensor where the file has them, the converter's order undone.
class RecipeRows {
 public:
  explicit RecipeRows(const TensorRecipe& recipe);

  int64_t count() const { return begins_.back(); }

  struct Row {
    const GgufRows* part;
    std::span<const std::byte> bytes;
  };
  Row at(int64_t row) const;

 private:
  int64_t source_row(int64_t row) const;

  const TensorRecipe& recipe_;
  std::vector<int64_t> begins_;  // of each part, and the end
};

// Bytes of a row of the part as the file has it.
size_t row_bytes(const GgufRows& part);

// Has the process keep no page of the file that was read: what is made of the rows takes their
// place. One for each thread; rows are told in the order they are read.
class ReadPages {
 public:
  ReadPages() = default;
  ~ReadPages() { let_go(); }
  ReadPages(const ReadPages&) = delete;
  ReadPages& operator=(const ReadPages&) = delete;

  void add(const RecipeRows::Row& row);

 private:
  void let_go();

  const GgufRows* part_ = nullptr;
  const std::byte *begin_ = nullptr, *end_ = nullptr;
};

}  // namespace klens
