#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {

// Each defined in the file of that name.
SsdScan ssd_scan_avx512bf16, ssd_scan_avx512, ssd_scan_avx2, ssd_scan_scalar;

static constexpr Variant<SsdScan> kVariants[] = {
    {"avx512bf16", kAvx2 | kAvx512 | kAvx512Bf16, ssd_scan_avx512bf16},
    {"avx512", kAvx2 | kAvx512, ssd_scan_avx512},
    {"avx2", kAvx2, ssd_scan_avx2},
    {"scalar", kBaseline, ssd_scan_scalar},
};

std::span<const Variant<SsdScan>> ssd_scan_variants() { return kVariants; }

// The most of the pieces of Work in the rows' files.
int64_t ssd_scan_work(const SsdScanArgs& args) {
  constexpr int64_t kChunk = 32;
  const int64_t states = args.states + 15;  // rows padded to sixteens or eights
  return states * 2 * (kChunk + 16) + 4 * kChunk * kChunk;
}

}  // namespace klens::cpu
