#include "loaders/tensor_values.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/half.h"

namespace klens {
namespace {

constexpr size_t kBlock = 65536;  // elements that a thread takes at a time

// Elements may be unaligned.
template <class Word>
Word word_at(std::span<const std::byte> bytes, size_t i) {
  Word word;
  std::memcpy(&word, bytes.data() + i * sizeof(Word), sizeof(Word));
  return word;
}

// Whether any element has all exponent bits set, that is, is NaN or infinite. By all cores: opening
// a model waits for it.
template <class Word>
bool any_non_finite(std::span<const std::byte> bytes, Word exponent_bits) {
  const size_t count = bytes.size() / sizeof(Word);
  std::atomic<bool> found{false};
  tbb::parallel_for(size_t{0}, (count + kBlock - 1) / kBlock, [&](size_t block) {
    const size_t first = block * kBlock, some = std::min(kBlock, count - first);
    const auto part = bytes.subspan(first * sizeof(Word), some * sizeof(Word));
    unsigned bad = 0;
    for (size_t i = 0; i < some; ++i)
      bad |= static_cast<Word>(word_at<Word>(part, i) & exponent_bits) == exponent_bits;
    if (bad != 0) found = true;
  });
  return found;
}

// `one` is a lambda, not a function's address, so that compilers vectorise it.
template <class Word, class Convert>
std::vector<float> convert(std::span<const std::byte> bytes, const Convert& one) {
  std::vector<float> to(bytes.size() / sizeof(Word));
  for (size_t i = 0; i < to.size(); ++i) to[i] = one(word_at<Word>(bytes, i));
  return to;
}

}  // namespace

std::string dtype_cure(const std::string& dtype) {
  const std::string types = "F32, F16 or BF16";
  if (dtype == "F64") return "; weights must be " + types + ": convert it to F32 (tensor.float())";
  return "; weights must be " + types + ": give the checkpoint in one of them, not a quantised one";
}

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
                  where + " has dtype " + dtype_name(dtype) + dtype_cure(dtype_name(dtype)));
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

std::vector<float> to_f32(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
      return convert<float>(tensor.bytes, [](float v) { return v; });
    case DType::kF16:
      return convert<uint16_t>(tensor.bytes, [](uint16_t h) { return f16_to_f32(h); });
    default:
      return convert<uint16_t>(tensor.bytes, [](uint16_t h) { return bf16_to_f32(h); });
  }
}

}  // namespace klens
