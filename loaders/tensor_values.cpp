#include "loaders/tensor_values.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "loaders/error.h"

namespace klens {
namespace {

// Whether any element has all exponent bits set, that is, is NaN or infinite. Elements may be
// unaligned. By all cores: opening a model waits for it.
template <class Word>
bool any_non_finite(std::span<const std::byte> bytes, Word exponent_bits) {
  constexpr size_t kBlock = 16384;  // elements
  const size_t blocks = (bytes.size() / sizeof(Word) + kBlock - 1) / kBlock;
  std::atomic<bool> found{false};
  tbb::parallel_for(size_t{0}, blocks, [&](size_t block) {
    Word words[kBlock];
    const auto part = bytes.subspan(block * sizeof words);
    const size_t count = std::min(kBlock, part.size() / sizeof(Word));
    std::memcpy(words, part.data(), count * sizeof(Word));
    unsigned bad = 0;
    for (size_t i = 0; i < count; ++i)
      bad |= static_cast<Word>(words[i] & exponent_bits) == exponent_bits;
    if (bad != 0) found = true;
  });
  return found;
}

float element(const TensorView& tensor, size_t i) {
  if (tensor.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, tensor.bytes.data() + 4 * i, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, tensor.bytes.data() + 2 * i, sizeof half);
  return tensor.dtype == DType::kF16 ? f16_to_f32(half) : bf16_to_f32(half);
}

}  // namespace

Layout row_layout(DType dtype, const std::string& where) {
  switch (dtype) {
    case DType::kF32:
      return Layout::kRowsF32;
    case DType::kF16:
      return Layout::kRowsF16;
    case DType::kBf16:
      return Layout::kRowsBf16;
    default:
      throw Error(ErrorKind::kUnsupported,
                  where + " has dtype " + dtype_name(dtype) + "; weights must be F32, F16 or BF16");
  }
}

void refuse_non_finite(const TensorView& tensor, const std::string& where) {
  bool bad = false;
  switch (row_layout(tensor.dtype, where)) {
    case Layout::kRowsF32:
      bad = any_non_finite<uint32_t>(tensor.bytes, 0x7f800000u);
      break;
    case Layout::kRowsF16:
      bad = any_non_finite<uint16_t>(tensor.bytes, 0x7c00u);
      break;
    default:
      bad = any_non_finite<uint16_t>(tensor.bytes, 0x7f80u);
      break;
  }
  if (bad)
    throw Error(ErrorKind::kBadFile,
                where + " holds NaN or infinity: the file is damaged, get it again");
}

std::vector<float> to_f32(const TensorView& tensor, const std::string& where) {
  refuse_non_finite(tensor, where);
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = element(tensor, i);
  return values;
}

}  // namespace klens
