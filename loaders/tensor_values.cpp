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

constexpr size_t kBlock = 16384;  // elements that a thread takes at a time

// each(block of elements' bytes, index of its first element), by all cores: opening a model waits
// for it.
template <class Word, class Each>
void over_blocks(std::span<const std::byte> bytes, const Each& each) {
  const size_t count = bytes.size() / sizeof(Word);
  tbb::parallel_for(size_t{0}, (count + kBlock - 1) / kBlock, [&](size_t block) {
    const size_t first = block * kBlock, some = std::min(kBlock, count - first);
    each(bytes.subspan(first * sizeof(Word), some * sizeof(Word)), first);
  });
}

// Elements may be unaligned.
template <class Word>
Word word_at(std::span<const std::byte> bytes, size_t i) {
  Word word;
  std::memcpy(&word, bytes.data() + i * sizeof(Word), sizeof(Word));
  return word;
}

// Whether any element has all exponent bits set, that is, is NaN or infinite.
template <class Word>
bool any_non_finite(std::span<const std::byte> bytes, Word exponent_bits) {
  std::atomic<bool> found{false};
  over_blocks<Word>(bytes, [&](std::span<const std::byte> block, size_t) {
    unsigned bad = 0;
    for (size_t i = 0; i < block.size() / sizeof(Word); ++i)
      bad |= static_cast<Word>(word_at<Word>(block, i) & exponent_bits) == exponent_bits;
    if (bad != 0) found = true;
  });
  return found;
}

// `one` is a lambda, not a function's address, so that compilers vectorise it.
template <class Word, class Convert>
void convert(std::span<const std::byte> bytes, std::vector<float>& to, const Convert& one) {
  over_blocks<Word>(bytes, [&](std::span<const std::byte> block, size_t first) {
    float* out = to.data() + first;
    for (size_t i = 0; i < block.size() / sizeof(Word); ++i) out[i] = one(word_at<Word>(block, i));
  });
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
  switch (tensor.dtype) {
    case DType::kF32:
      convert<float>(tensor.bytes, values, [](float v) { return v; });
      break;
    case DType::kF16:
      convert<uint16_t>(tensor.bytes, values, [](uint16_t h) { return f16_to_f32(h); });
      break;
    default:
      convert<uint16_t>(tensor.bytes, values, [](uint16_t h) { return bf16_to_f32(h); });
      break;
  }
  return values;
}

}  // namespace klens
