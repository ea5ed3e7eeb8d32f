#include "kernels/cpu/scan/selective_scan.h"

namespace klens::cpu {

SelectiveScan selective_scan_avx2, selective_scan_scalar;  // each defined in the file of that name

static constexpr Variant<SelectiveScan> kVariants[] = {
    {"avx2", kAvx2, selective_scan_avx2},
    {"scalar", kBaseline, selective_scan_scalar},
};

std::span<const Variant<SelectiveScan>> selective_scan_variants() { return kVariants; }

}  // namespace klens::cpu
