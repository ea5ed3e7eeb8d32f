#pragma once
#include <array>
#include <limits>
#include <vector>

#include "engine/device/memory.h"
#include "kernels/kv_type.h"
#include "loaders/model_spec.h"

namespace klens {

// A cache that forgets what is out of reach cannot be truncated far.
inline bool forgets(const KvCacheSpec& spec) {
  return spec.reach != std::numeric_limits<int64_t>::max();
}

// The keys and values of one sequence in one attention layer (or in several that share them): which
// positions are held, and in which rows of a device's memory. Positions run from 0 to where it was
// last extended to. Those that no query can see any more are overwritten: behind the pinned rows
// lies a ring. Copying a cache is forking it.
class KvCache {
 public:
  KvCache(AddressSpace& space, const KvCacheSpec& spec, KvType type);

  KvType type() const { return type_; }
  int64_t kv_heads() const { return kv_heads_; }
  size_t bytes() const;  // of the rows held

  // Room for positions [position, position + rows), which forgets all that was there from
  // `position` on; it may be no further than the end of what is held.
  void extend(int64_t position, int64_t rows);

  // Whether a sequence can go on from `length`: all that its next query sees is still held.
  bool reaches_back_to(int64_t length) const;
  void truncate(int64_t length);  // reaches_back_to(length)

  // Rows that follow each other in memory and in position.
  struct Run {
    int64_t row, rows, position;
  };
  struct Runs {
    std::array<Run, 3> runs;  // ascending positions
    int64_t count = 0;
    const Run* begin() const { return runs.data(); }
    const Run* end() const { return runs.data() + count; }
  };
  Runs held() const;                                // all of them
  Runs runs(int64_t position, int64_t rows) const;  // those of these positions, which are held

  // Keys, or values: [rows][kv_heads][dim].
  struct Plane {
    int64_t dim = 0;
    Memory data, scale;  // scale: [rows][kv_heads]; INT8 only
  };
  const Plane& k() const { return k_; }
  const Plane& v() const { return v_; }
  int64_t row_bytes(const Plane& plane) const {
    return kv_heads_ * plane.dim * kv_element_bytes(type_);
  }
  // The same rows in another type, which a device made of them.
  void become(KvType type, Memory k, Memory v);

  // What a saved session holds: the position of the first row after the pinned ones, and the rows
  // by ascending position.
  struct Saved {
    int64_t first = 0, length = 0;
    std::vector<std::byte> k, v, k_scale, v_scale;
  };
  Saved saved() const;
  // False, and unchanged, if the sizes do not fit this cache. A cache that was turned to FP32 was
  // saved as such, and is restored so.
  bool restore(const Saved& from);

 private:
  // Of the same kind and with the same positions, in other memory, which holds anything.
  KvCache(const KvCache& like, int64_t ring);
  void add_runs(int64_t begin, int64_t end, Runs& to) const;
  int64_t rows_held() const;
  void grow(int64_t ring);

  AddressSpace* space_;
  int64_t kv_heads_, reach_, pinned_;
  KvType type_;
  Plane k_, v_;
  int64_t ring_ = 0;  // rows of memory behind the pinned ones
  int64_t first_;     // position of the first row held that is not pinned
  int64_t length_ = 0;
};

}  // namespace klens
