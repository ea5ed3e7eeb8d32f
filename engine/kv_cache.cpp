#include "engine/kv_cache.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/check.h"
#include "kernels/half.h"
#include "kernels/magnitude.h"

namespace klens {
namespace {

// Rows out of reach are dropped this many at a time, so that moving the rest costs little a token.
constexpr int64_t kSlack = 64;

}  // namespace

KvCache::KvCache(const KvCacheSpec& spec, cpu::KvType type)
    : kv_heads_(spec.kv_heads),
      reach_(spec.reach),
      pinned_(spec.pinned),
      type_(type),
      first_(spec.pinned) {
  const int64_t element = cpu::kv_element_bytes(type);
  k_ = {.dim = spec.k_dim,
        .row_bytes = spec.kv_heads * spec.k_dim * element,
        .data = {},
        .scale = {}};
  v_ = {.dim = spec.v_dim,
        .row_bytes = spec.kv_heads * spec.v_dim * element,
        .data = {},
        .scale = {}};
}

size_t KvCache::bytes() const {
  return k_.data.size() + v_.data.size() + (k_.scale.size() + v_.scale.size()) * sizeof(float);
}

int64_t KvCache::rows_of(int64_t length) const {
  return length <= pinned_ ? length : pinned_ + std::max<int64_t>(length - first_, 0);
}

void KvCache::resize(int64_t rows) {
  for (Plane* plane : {&k_, &v_}) {
    plane->data.resize(static_cast<size_t>(rows * plane->row_bytes));
    if (type_ == cpu::KvType::kI8) plane->scale.resize(static_cast<size_t>(rows * kv_heads_));
  }
}

bool KvCache::reaches_back_to(int64_t length) const {
  if (length > length_) return false;
  return first_ == pinned_ || (length >= first_ && length - first_ >= std::min(reach_, length));
}

void KvCache::truncate(int64_t length) {
  KLENS_CHECK(reaches_back_to(length));
  resize(rows_of(length));
  length_ = length;
}

void KvCache::forget_before(int64_t position) {
  const int64_t gone = position - first_;
  if (gone < kSlack || position > length_) return;
  for (Plane* plane : {&k_, &v_}) {
    const auto from = plane->data.begin() + pinned_ * plane->row_bytes;
    plane->data.erase(from, from + gone * plane->row_bytes);
    if (type_ != cpu::KvType::kI8) continue;
    const auto scales = plane->scale.begin() + pinned_ * kv_heads_;
    plane->scale.erase(scales, scales + gone * kv_heads_);
  }
  first_ = position;
}

// Whether the cache's type has room for all of x.
bool KvCache::reaches(const float* x, int64_t rows, int64_t stride, int64_t width,
                      const Executor& executor) const {
  if (type_ != cpu::KvType::kF16) return true;
  std::atomic<bool> beyond{false};
  executor.ranges(rows, width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      if (!(largest_magnitude(x + row * stride, width) <= kRoundsToMaxF16)) beyond = true;
  });
  return !beyond;
}

void KvCache::widen() {
  type_ = cpu::KvType::kF32;
  for (Plane* plane : {&k_, &v_}) {
    std::vector<std::byte> wide(2 * plane->data.size());
    for (size_t i = 0; 2 * i < plane->data.size(); ++i) {
      uint16_t half = 0;
      std::memcpy(&half, plane->data.data() + 2 * i, sizeof half);
      const float value = f16_to_f32(half);
      std::memcpy(wide.data() + 4 * i, &value, sizeof value);
    }
    plane->data = std::move(wide);
    plane->row_bytes *= 2;
  }
}

void KvCache::append(int64_t position, int64_t rows, const float* k, int64_t k_stride,
                     const float* v, int64_t v_stride, const Executor& executor) {
  if (position < length_) truncate(position);
  KLENS_CHECK(position == length_);
  if (reach_ < position) forget_before(position - reach_);
  if (!reaches(k, rows, k_stride, kv_heads_ * k_.dim, executor) ||
      !reaches(v, rows, v_stride, kv_heads_ * v_.dim, executor))
    widen();
  const int64_t at = rows_of(length_);
  resize(at + rows);
  const auto store = cpu::best_variant(cpu::store_kv_variants(), cpu::active()).run;
  const auto put = [&](Plane& plane, const float* x, int64_t stride, int64_t begin, int64_t end) {
    const int64_t row = at + begin;
    store({.x = x + begin * stride,
           .x_stride = stride,
           .type = type_,
           .to = plane.data.data() + row * plane.row_bytes,
           .scale = plane.scale.data() + (plane.scale.empty() ? 0 : row * kv_heads_),
           .rows = end - begin,
           .heads = kv_heads_,
           .dim = plane.dim});
  };
  executor.ranges(rows, kv_heads_ * (k_.dim + v_.dim) * 2, [&](int64_t begin, int64_t end) {
    const Timed timed(executor.clock(), Step::kElementwise);
    put(k_, k, k_stride, begin, end);
    put(v_, v, v_stride, begin, end);
  });
  length_ += rows;
}

KvCache::Segments KvCache::segments() const {
  const auto run = [&](int64_t row, int64_t rows, int64_t position) {
    const auto scale = [&](const Plane& plane) {
      return plane.scale.empty() ? nullptr : plane.scale.data() + row * kv_heads_;
    };
    return cpu::KvSegment{.k = k_.data.data() + row * k_.row_bytes,
                          .v = v_.data.data() + row * v_.row_bytes,
                          .k_scale = scale(k_),
                          .v_scale = scale(v_),
                          .rows = rows,
                          .position = position};
  };
  const int64_t rows = rows_of(length_);
  if (first_ == pinned_ || length_ <= pinned_) return {{run(0, rows, 0), {}}, 1};
  if (pinned_ == 0) return {{run(0, rows, first_), {}}, 1};
  return {{run(0, pinned_, 0), run(pinned_, rows - pinned_, first_)}, 2};
}

KvCache::Saved KvCache::saved() const {
  return {.first = first_,
          .length = length_,
          .k = k_.data,
          .v = v_.data,
          .k_scale = k_.scale,
          .v_scale = v_.scale};
}

bool KvCache::restore(const Saved& from) {
  const int64_t first = first_;
  first_ = from.first;
  const int64_t rows = from.length >= 0 && from.first >= pinned_ ? rows_of(from.length) : -1;
  const size_t scales = type_ == cpu::KvType::kI8 ? static_cast<size_t>(rows * kv_heads_) : 0;
  // A cache that was turned to FP32 was saved as such.
  if (type_ == cpu::KvType::kF16 && rows > 0 &&
      from.k.size() == static_cast<size_t>(2 * rows * k_.row_bytes) &&
      from.v.size() == static_cast<size_t>(2 * rows * v_.row_bytes))
    widen();
  if (rows < 0 || (from.first > pinned_ && from.first > from.length) ||
      from.k.size() != static_cast<size_t>(rows * k_.row_bytes) ||
      from.v.size() != static_cast<size_t>(rows * v_.row_bytes) || from.k_scale.size() != scales ||
      from.v_scale.size() != scales) {
    first_ = first;
    return false;
  }
  k_.data.assign(from.k.begin(), from.k.end());
  v_.data.assign(from.v.begin(), from.v.end());
  k_.scale.assign(from.k_scale.begin(), from.k_scale.end());
  v_.scale.assign(from.v_scale.begin(), from.v_scale.end());
  length_ = from.length;
  return true;
}

}  // namespace klens
