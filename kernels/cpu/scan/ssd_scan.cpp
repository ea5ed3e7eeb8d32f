#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {

SsdScan ssd_scan_avx2, ssd_scan_scalar;  // each defined in the file of that name

static constexpr Variant<SsdScan> kVariants[] = {
    {"avx2", kAvx2, ssd_scan_avx2},
    {"scalar", kBaseline, ssd_scan_scalar},
};

std::span<const Variant<SsdScan>> ssd_scan_variants() { return kVariants; }

// See the pieces of Work in ssd_scan_avx2.cpp, the one row that needs any.
int64_t ssd_scan_work(const SsdScanArgs& args) {
  constexpr int64_t kChunk = 64, kRows = 6, kCols = 16;
  const int64_t states = args.states + 7;  // rows padded to eights, or to sixes
  return states * (kChunk + kCols) + 2 * (kChunk + kRows) * kChunk + 2 * kChunk * kCols;
}

}  // namespace klens::cpu
