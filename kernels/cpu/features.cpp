#include "kernels/cpu/features.h"

#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>

namespace klens::cpu {
namespace {

struct Level {
  const char* name;
  Features bits;      // what KLENS_ISA=name allows
  Features required;  // what a CPU must have for level_name() to say so
};

// Lowest first; each allows all that the ones before it allow. Zen 4 has AVX-512 without AVX-VNNI,
// therefore `required` is less than `bits`.
constexpr Features kUpToVnni = kAvx2 | kAvxVnni;
constexpr Features kUpToAvx512 = kUpToVnni | kAvx512 | kAvx512Vnni | kAvx512Bf16 | kFastBf16;
constexpr Level kLevels[] = {
    {"scalar", kBaseline, kBaseline},
    {"avx2", kAvx2, kAvx2},
    {"avxvnni", kUpToVnni, kAvx2 | kAvxVnni},
    {"avx512", kUpToAvx512, kAvx2 | kAvx512},
    {"amx", kUpToAvx512 | kAmxInt8 | kAmxBf16, kAvx2 | kAvx512 | kAmxInt8},
};

bool all_set(uint64_t value, uint64_t mask) { return (value & mask) == mask; }

constexpr uint64_t bit(int i) { return uint64_t{1} << i; }

// Which register states the operating system saves (Intel SDM vol. 1, 13.3).
uint64_t xcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Eight tiles of 16 rows x 64 bytes (palette 1), which is what our AMX kernels configure.
bool has_tile_palette() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(0x1d, 0, &eax, &ebx, &ecx, &edx) || eax < 1) return false;
  if (!__get_cpuid_count(0x1d, 1, &eax, &ebx, &ecx, &edx)) return false;
  const uint32_t tile_bytes = eax >> 16, row_bytes = ebx & 0xffff, tiles = ebx >> 16;
  return tile_bytes >= 1024 && row_bytes == 64 && tiles >= 8 && (ecx & 0xffff) >= 16;
}

bool made_by_intel() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_INTEL_ebx &&
         edx == signature_INTEL_edx && ecx == signature_INTEL_ecx;
}

// Linux saves tiles (8 KiB) only for processes that have asked; any other that touches one is
// killed. The answer holds for all threads and may be asked for again.
bool may_use_tiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return true;
#endif
}

const char* variable() {
  const char* word = std::getenv("KLENS_ISA");
  return word != nullptr && *word != 0 ? word : nullptr;
}

}  // namespace

Features detect() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return kBaseline;
  const bool avx = all_set(ecx, bit(27) | bit(28));  // OSXSAVE, AVX
  const bool fma_f16c = all_set(ecx, bit(12) | bit(29));
  if (!avx || !fma_f16c) return kBaseline;
  const uint64_t saved = xcr0();
  if (!all_set(saved, bit(1) | bit(2))) return kBaseline;  // xmm, ymm
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return kBaseline;
  if (!all_set(ebx, bit(5))) return kBaseline;
  const uint32_t last_subleaf = eax;

  Features have = kAvx2;
  const bool zmm = all_set(saved, bit(5) | bit(6) | bit(7));
  const bool tiles = all_set(saved, bit(17) | bit(18));
  if (zmm && all_set(ebx, bit(16) | bit(17) | bit(30) | bit(31))) {  // F, DQ, BW, VL
    have |= kAvx512;
    if (all_set(ecx, bit(11))) have |= kAvx512Vnni;
  }
  const bool amx_int8 = all_set(edx, bit(24) | bit(25));  // AMX-TILE, AMX-INT8
  const bool amx_bf16 = all_set(edx, bit(22));
  if (tiles && amx_int8 && has_tile_palette() && may_use_tiles())
    have |= kAmxInt8 | (amx_bf16 ? kAmxBf16 : kBaseline);
  if (last_subleaf >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
    if (all_set(eax, bit(4))) have |= kAvxVnni;
    if (all_set(eax, bit(5)) && covers(have, kAvx512))
      have |= kAvx512Bf16 | (made_by_intel() ? kBaseline : kFastBf16);
  }
  return have;
}

Features allowed_by(const std::string& level, bool* known) {
  for (const Level& l : kLevels) {
    if (level == l.name) {
      *known = true;
      return l.bits;
    }
  }
  *known = false;
  return kBaseline;
}

Features active() {
  static const Features features = [] {
    const char* word = variable();
    bool known = false;
    return word == nullptr ? detect() : detect() & allowed_by(word, &known);
  }();
  return features;
}

const char* level_name() {
  const char* name = kLevels[0].name;
  for (const Level& l : kLevels)
    if (covers(active(), l.required)) name = l.name;
  return name;
}

std::string isa_variable_error() {
  const char* word = variable();
  bool known = true;
  if (word != nullptr) allowed_by(word, &known);
  if (known) return "";
  std::string text = "KLENS_ISA is '" + std::string(word) + "'; known are";
  for (const Level& l : kLevels) text += std::string(&l == kLevels ? " " : ", ") + l.name;
  return text;
}

}  // namespace klens::cpu
