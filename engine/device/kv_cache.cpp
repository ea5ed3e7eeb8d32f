#include "engine/device/kv_cache.h"

#include <algorithm>

namespace klens {
namespace {

// Memory grows by as much as there is, from this many rows on.
constexpr int64_t kLeastRows = 64;
constexpr int64_t kScaleBytes = sizeof(float);

}  // namespace

KvCache::KvCache(AddressSpace& space, const KvCacheSpec& spec, KvType type)
    : space_(&space),
      kv_heads_(spec.kv_heads),
      reach_(spec.reach),
      pinned_(forgets(spec) ? spec.pinned : 0),
      type_(type),
      first_(pinned_) {
  k_.dim = spec.k_dim;
  v_.dim = spec.v_dim;
}

int64_t KvCache::rows_held() const {
  return std::min(length_, pinned_) + std::max<int64_t>(length_ - first_, 0);
}

size_t KvCache::bytes() const {
  const int64_t scales = type_ == KvType::kI8 ? 2 * kv_heads_ * kScaleBytes : 0;
  return static_cast<size_t>(rows_held() * (row_bytes(k_) + row_bytes(v_) + scales));
}

bool KvCache::reaches_back_to(int64_t length) const {
  if (length > length_) return false;
  return first_ == pinned_ || (length >= first_ && length - first_ >= std::min(reach_, length));
}

void KvCache::truncate(int64_t length) {
  KLENS_CHECK(reaches_back_to(length));
  length_ = length;
}

// Rows end where the pinned ones end, and where the ring does; what goes on in both is one run.
void KvCache::add_runs(int64_t begin, int64_t end, Runs& to) const {
  while (begin < end) {
    const int64_t row = begin < pinned_ ? begin : pinned_ + (begin - pinned_) % ring_;
    const int64_t rows = std::min(end - begin, (begin < pinned_ ? pinned_ : pinned_ + ring_) - row);
    Run* last = to.count == 0 ? nullptr : &to.runs[static_cast<size_t>(to.count - 1)];
    if (last != nullptr && last->row + last->rows == row && last->position + last->rows == begin)
      last->rows += rows;
    else
      to.runs[static_cast<size_t>(to.count++)] = {row, rows, begin};
    begin += rows;
  }
}

KvCache::Runs KvCache::runs(int64_t position, int64_t rows) const {
  Runs runs;
  add_runs(position, position + rows, runs);
  return runs;
}

KvCache::Runs KvCache::held() const {
  Runs runs;
  add_runs(0, std::min(length_, pinned_), runs);
  add_runs(first_, length_, runs);
  return runs;
}

void KvCache::grow(int64_t ring) {
  KvCache wider(*this, ring);
  const auto move = [&](const Memory& from, const Memory& to, int64_t bytes) {
    for (const Run& run : held())
      for (const Run& part : wider.runs(run.position, run.rows))
        space_->copy(from.address() +
                         static_cast<uint64_t>((run.row + part.position - run.position) * bytes),
                     to.address() + static_cast<uint64_t>(part.row * bytes), part.rows * bytes);
  };
  move(k_.data, wider.k_.data, row_bytes(k_));
  move(v_.data, wider.v_.data, row_bytes(v_));
  if (type_ == KvType::kI8) {
    move(k_.scale, wider.k_.scale, kv_heads_ * kScaleBytes);
    move(v_.scale, wider.v_.scale, kv_heads_ * kScaleBytes);
  }
  *this = std::move(wider);
}

KvCache::KvCache(const KvCache& like, int64_t ring)
    : space_(like.space_),
      kv_heads_(like.kv_heads_),
      reach_(like.reach_),
      pinned_(like.pinned_),
      type_(like.type_),
      ring_(ring),
      first_(like.first_),
      length_(like.length_) {
  const auto make = [&](const Plane& from, Plane& plane) {
    plane.dim = from.dim;
    const int64_t rows = pinned_ + ring;
    plane.data = Memory(*space_, rows * row_bytes(plane), Memory::Begin::kAnything);
    if (type_ == KvType::kI8)
      plane.scale = Memory(*space_, rows * kv_heads_ * kScaleBytes, Memory::Begin::kAnything);
  };
  make(like.k_, k_);
  make(like.v_, v_);
}

void KvCache::extend(int64_t position, int64_t rows) {
  if (position < length_) truncate(position);
  KLENS_CHECK(position == length_);
  const int64_t end = position + rows;
  // The first of the new queries sees `reach` keys before it.
  const int64_t oldest = std::max(first_, reach_ < position ? position - reach_ : 0);
  const int64_t needed = std::max<int64_t>(end - oldest, 1);
  if (needed > ring_) {
    int64_t wanted = std::max(2 * ring_, kLeastRows);
    if (reach_ < wanted) wanted = reach_ + kLeastRows;
    grow(std::max(needed, wanted));
  }
  length_ = end;
  first_ = std::max(first_, end - ring_);
}

void KvCache::become(KvType type, Memory k, Memory v) {
  type_ = type;
  k_.data = std::move(k);
  v_.data = std::move(v);
}

KvCache::Saved KvCache::saved() const {
  Saved result{.first = first_, .length = length_, .k = {}, .v = {}, .k_scale = {}, .v_scale = {}};
  const auto take = [&](const Memory& from, int64_t row_size, std::vector<std::byte>& to) {
    for (const Run& run : held()) {
      const size_t at = to.size();
      to.resize(at + static_cast<size_t>(run.rows * row_size));
      space_->read(from.address() + static_cast<uint64_t>(run.row * row_size), to.data() + at,
                   run.rows * row_size);
    }
  };
  take(k_.data, row_bytes(k_), result.k);
  take(v_.data, row_bytes(v_), result.v);
  if (type_ != KvType::kI8) return result;
  take(k_.scale, kv_heads_ * kScaleBytes, result.k_scale);
  take(v_.scale, kv_heads_ * kScaleBytes, result.v_scale);
  return result;
}

bool KvCache::restore(const Saved& from) {
  if (from.length < 0 || from.first < pinned_ || (from.first > pinned_ && from.first > from.length))
    return false;
  KvCache made(*this, 0);
  made.first_ = from.first;
  made.length_ = from.length;
  const int64_t rows = made.rows_held();
  const auto fits = [&] {
    const int64_t scales = made.type_ == KvType::kI8 ? rows * kv_heads_ * kScaleBytes : 0;
    return static_cast<int64_t>(from.k.size()) == rows * made.row_bytes(k_) &&
           static_cast<int64_t>(from.v.size()) == rows * made.row_bytes(v_) &&
           static_cast<int64_t>(from.k_scale.size()) == scales &&
           static_cast<int64_t>(from.v_scale.size()) == scales;
  };
  if (!fits() && type_ == KvType::kF16) made.type_ = KvType::kF32;
  if (!fits()) return false;
  made = KvCache(made, std::max<int64_t>(from.length - from.first, 1));
  const auto put = [&](const std::vector<std::byte>& values, int64_t row_size, const Memory& to) {
    int64_t at = 0;
    for (const Run& run : made.held()) {
      space_->write(values.data() + at, to.address() + static_cast<uint64_t>(run.row * row_size),
                    run.rows * row_size);
      at += run.rows * row_size;
    }
  };
  put(from.k, made.row_bytes(k_), made.k_.data);
  put(from.v, made.row_bytes(v_), made.v_.data);
  if (made.type_ == KvType::kI8) {
    put(from.k_scale, kv_heads_ * kScaleBytes, made.k_.scale);
    put(from.v_scale, kv_heads_ * kScaleBytes, made.v_.scale);
  }
  *this = std::move(made);
  return true;
}

}  // namespace klens
