#include "kernels/cpu/probe/probe.h"

namespace klens::cpu {

ReadProbe read_probe_avx512, read_probe_avx2, read_probe_scalar;  // probe_<row>.cpp
IntegerProbe integer_probe_avx512vnni, integer_probe_avx512, integer_probe_avx2,
    integer_probe_scalar;

static constexpr Variant<ReadProbe> kReadProbe[] = {
    {"avx512", kAvx2 | kAvx512, read_probe_avx512},
    {"avx2", kAvx2, read_probe_avx2},
    {"scalar", kBaseline, read_probe_scalar},
};
static constexpr Variant<IntegerProbe> kIntegerProbe[] = {
    {"avx512vnni", kAvx2 | kAvx512 | kAvx512Vnni, integer_probe_avx512vnni},
    {"avx512", kAvx2 | kAvx512, integer_probe_avx512},
    {"avx2", kAvx2, integer_probe_avx2},
    {"scalar", kBaseline, integer_probe_scalar},
};

std::span<const Variant<ReadProbe>> read_probe_variants() { return kReadProbe; }
std::span<const Variant<IntegerProbe>> integer_probe_variants() { return kIntegerProbe; }

}  // namespace klens::cpu
