#include "kernels/cpu/scan/selective_scan.h"

namespace klens::cpu {

// Each defined in the file of that name.
SelectiveScan selective_scan_avx512, selective_scan_avx2, selective_scan_scalar;

static constexpr Variant<SelectiveScan> kVariants[] = {
    {"avx512", kAvx2 | kAvx512, selective_scan_avx512},
    {"avx2", kAvx2, selective_scan_avx2},
    {"scalar", kBaseline, selective_scan_scalar},
};

std::span<const Variant<SelectiveScan>> selective_scan_variants() { return kVariants; }

}  // namespace klens::cpu
