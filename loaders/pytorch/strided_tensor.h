#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "loaders/safetensors.h"
#include "quant/packed_weight.h"

namespace klens::pytorch {

// A tensor as PyTorch describes it: counted in elements, element [i, j] is at
// offset + i strides[0] + j strides[1] of its storage, which others may share.
struct StridedTensor {
  DType dtype;
  std::span<const std::byte> storage;
  int64_t offset = 0;
  std::vector<int64_t> sizes, strides;
};

// Makes row-major tensors of strided ones: views where they are that already, else copies.
class Contiguous {
 public:
  // `most_bytes` of copies: an expanded tensor is larger than its storage, as large as it likes.
  explicit Contiguous(size_t most_bytes) : left_(most_bytes) {}

  // Throws Error with the reason alone for what lies outside its storage.
  TensorView operator()(const StridedTensor& tensor);
  std::vector<AlignedBuffer> take_copies() { return std::move(copies_); }

 private:
  std::vector<AlignedBuffer> copies_;
  size_t left_;
};

}  // namespace klens::pytorch
