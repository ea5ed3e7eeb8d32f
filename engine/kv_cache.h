#pragma once
#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "engine/executor.h"
#include "kernels/cpu/attention/attention.h"
#include "loaders/model_spec.h"

namespace klens {

// A cache that forgets what is out of reach cannot be truncated far.
inline bool forgets(const KvCacheSpec& spec) {
  return spec.reach != std::numeric_limits<int64_t>::max();
}

// The keys and values of one sequence in one attention layer (or in several that share them).
// Positions run from 0 to length(); those that no query can see any more are forgotten, some at a
// time. Copying it is forking it. FP16 turns to FP32 when keys or values come that FP16 does not
// reach (beyond 65504); what is held keeps its bits.
class KvCache {
 public:
  KvCache(const KvCacheSpec& spec, cpu::KvType type);

  int64_t length() const { return length_; }
  cpu::KvType type() const { return type_; }
  size_t bytes() const;

  // Rows for positions [position, position + rows), which forgets all that was there from
  // `position` on; position <= length(). k: [rows][kv_heads][k_dim], v: [rows][kv_heads][v_dim].
  void append(int64_t position, int64_t rows, const float* k, int64_t k_stride, const float* v,
              int64_t v_stride, const Executor& executor);

  // Whether a sequence can go on from `length`: all that its next query sees is still held.
  bool reaches_back_to(int64_t length) const;
  void truncate(int64_t length);  // reaches_back_to(length)

  // What is held, for the kernel: one or two runs.
  struct Segments {
    std::array<cpu::KvSegment, 2> runs;
    int64_t count;
  };
  Segments segments() const;

  // What a saved session holds: position of the first row after the pinned ones, and the rows.
  struct Saved {
    int64_t first, length;
    std::span<const std::byte> k, v;
    std::span<const float> k_scale, v_scale;
  };
  Saved saved() const;
  // False, and unchanged, if the sizes do not fit this cache.
  bool restore(const Saved& from);

 private:
  // Keys, or values: [rows][kv_heads][dim].
  struct Plane {
    int64_t dim = 0, row_bytes = 0;
    std::vector<std::byte> data;
    std::vector<float> scale;  // [rows][kv_heads]; INT8 only
  };
  int64_t rows_of(int64_t length) const;  // rows held for a sequence of this length
  void resize(int64_t rows);
  bool reaches(const float* x, int64_t rows, int64_t stride, int64_t width,
               const Executor& executor) const;
  void widen();  // FP16 to FP32
  void forget_before(int64_t position);

  int64_t kv_heads_, reach_, pinned_;
  cpu::KvType type_;
  Plane k_, v_;
  int64_t first_;  // position of the first row that is not pinned
  int64_t length_ = 0;
};

}  // namespace klens
