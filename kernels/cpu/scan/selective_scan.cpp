#include "kernels/cpu/scan/selective_scan.h"

namespace klens::cpu {

SelectiveScan selective_scan_scalar;  // defined in the file of that name

static constexpr Variant<SelectiveScan> kVariants[] = {
    {"scalar", kBaseline, selective_scan_scalar},
};

std::span<const Variant<SelectiveScan>> selective_scan_variants() { return kVariants; }

}  // namespace klens::cpu
