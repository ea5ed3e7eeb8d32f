#include "loaders/pytorch/strided_tensor.h"

#include <cstring>

#include "loaders/pytorch/messages.h"

namespace klens::pytorch {
namespace {

constexpr size_t kMostDimensions = 8;
constexpr int64_t kLargestExtent = int64_t{1} << 40;

// The bytes of all elements. Like TensorView::elements(), it multiplies whatever a 0 follows.
int64_t checked_bytes(const StridedTensor& tensor) {
  if (tensor.sizes.size() > kMostDimensions || tensor.sizes.size() != tensor.strides.size())
    damaged("has " + std::to_string(tensor.sizes.size()) + " sizes and " +
            std::to_string(tensor.strides.size()) + " strides");
  auto bytes = static_cast<int64_t>(dtype_bytes(tensor.dtype));
  for (const int64_t size : tensor.sizes)
    if (size < 0 || size > kLargestExtent || __builtin_mul_overflow(bytes, size, &bytes))
      damaged("has the shape " + shape_text(tensor.sizes) + ", which is no size in memory");
  return bytes;
}

// Every element must lie in the storage.
void check_inside(const StridedTensor& tensor, bool empty) {
  const auto count = static_cast<int64_t>(tensor.storage.size() / dtype_bytes(tensor.dtype));
  int64_t last = tensor.offset;
  bool inside = tensor.offset >= 0 && tensor.offset <= count;
  for (size_t i = 0; i < tensor.sizes.size(); ++i) {
    int64_t way = 0;
    inside = inside && tensor.strides[i] >= 0;
    inside = inside &&
             (empty || (!__builtin_mul_overflow(tensor.sizes[i] - 1, tensor.strides[i], &way) &&
                        !__builtin_add_overflow(last, way, &last)));
  }
  if (!inside || (!empty && last >= count))
    damaged("with shape " + shape_text(tensor.sizes) + ", strides " + shape_text(tensor.strides) +
            " and offset " + std::to_string(tensor.offset) + " lies outside its storage of " +
            std::to_string(count) + " elements");
}

// Strides along extents of 1 are never used and may be anything.
bool is_row_major(const StridedTensor& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.sizes.size(); i-- > 0;) {
    if (tensor.sizes[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.sizes[i];
  }
  return true;
}

// There is at least one element and one dimension.
template <size_t kWidth>
void gather(const StridedTensor& tensor, std::byte* out) {
  const size_t outer = tensor.sizes.size() - 1;
  const int64_t length = tensor.sizes[outer], step = tensor.strides[outer];
  std::vector<int64_t> index(outer, 0);
  int64_t row = tensor.offset;
  for (;;) {
    for (int64_t i = 0; i < length; ++i, out += kWidth)
      std::memcpy(out, tensor.storage.data() + static_cast<size_t>(row + i * step) * kWidth,
                  kWidth);
    size_t d = outer;
    for (; d > 0; --d) {
      row += tensor.strides[d - 1];
      if (++index[d - 1] < tensor.sizes[d - 1]) break;
      row -= tensor.sizes[d - 1] * tensor.strides[d - 1];
      index[d - 1] = 0;
    }
    if (d == 0) return;
  }
}

void gather(const StridedTensor& tensor, std::byte* out) {
  switch (dtype_bytes(tensor.dtype)) {
    case 1:
      return gather<1>(tensor, out);
    case 2:
      return gather<2>(tensor, out);
    case 4:
      return gather<4>(tensor, out);
    default:
      return gather<8>(tensor, out);
  }
}

}  // namespace

TensorView Contiguous::operator()(const StridedTensor& tensor) {
  const auto bytes = static_cast<size_t>(checked_bytes(tensor));
  check_inside(tensor, bytes == 0);
  TensorView view{.dtype = tensor.dtype, .shape = tensor.sizes, .bytes = {}};
  if (bytes == 0) return view;
  if (is_row_major(tensor)) {
    const auto begin = static_cast<size_t>(tensor.offset) * dtype_bytes(tensor.dtype);
    view.bytes = tensor.storage.subspan(begin, bytes);
    return view;
  }
  if (bytes > left_)
    throw Error(ErrorKind::kUnsupported, "of shape " + shape_text(tensor.sizes) + " and strides " +
                                             shape_text(tensor.strides) +
                                             " is far larger than what the file holds of it");
  left_ -= bytes;
  AlignedBuffer& copy = copies_.emplace_back(bytes);
  gather(tensor, copy.data());
  view.bytes = {copy.data(), bytes};
  return view;
}

}  // namespace klens::pytorch
