#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {

// Each defined in the file of that name.
SsdScan ssd_scan_avx512bf16, ssd_scan_avx512, ssd_scan_avx2, ssd_scan_scalar;

static constexpr Variant<SsdScan> kVariants[] = {
    {"avx512bf16", kAvx2 | kAvx512 | kAvx512Bf16 | kFastBf16, ssd_scan_avx512bf16},
    {"avx512", kAvx2 | kAvx512, ssd_scan_avx512},
    {"avx2", kAvx2, ssd_scan_avx2},
    {"scalar", kBaseline, ssd_scan_scalar},
};

std::span<const Variant<SsdScan>> ssd_scan_variants() { return kVariants; }

int64_t ssd_pending_size(int64_t heads, int64_t head_dim, int64_t groups, int64_t states) {
  return kSsdPending * (heads * (head_dim + 1) + groups * states) + heads;
}

SsdPending ssd_pending_at(float* memory, int64_t heads, int64_t head_dim, int64_t groups,
                          int64_t states) {
  float* b = memory + heads * kSsdPending * head_dim;
  float* weight = b + groups * states * kSsdPending;
  return {.x = memory, .b = b, .weight = weight, .log = weight + heads * kSsdPending};
}

void ssd_keep_b(const SsdScanArgs& args) {
  float* kept = args.pending.b + args.position % kSsdPending;
  for (int64_t i = 0; i < args.groups * args.states; ++i) kept[i * kSsdPending] = args.b[i];
}

SsdScanArgs ssd_part(SsdScanArgs args, int64_t first, int64_t count) {
  args.x += first * args.x_stride;
  args.dt += first * args.dt_stride;
  args.b += first * args.bc_stride;
  args.c += first * args.bc_stride;
  args.y += first * args.y_stride;
  args.position += first;
  args.tokens = count;
  return args;
}

// The most of the pieces of Work in the rows' files.
int64_t ssd_scan_work(const SsdScanArgs& args) {
  constexpr int64_t kChunk = 32;
  const int64_t states = args.states + 15;  // rows padded to sixteens or eights
  const int64_t widened = args.half_state == nullptr ? 0 : args.heads * args.states * args.head_dim;
  return widened + states * 2 * (kChunk + 16) + 4 * kChunk * kChunk;
}

}  // namespace klens::cpu
