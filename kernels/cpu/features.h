#pragma once
#include <cstdint>
#include <string>

namespace klens::cpu {

// Independent bits, not a ladder: real CPUs have one extension without another. A row of a kernel
// table names every bit that its file's compiler flags enable.
using Features = uint32_t;
inline constexpr Features kBaseline = 0;
inline constexpr Features kAvx2 = 1u << 0;     // AVX2 + FMA + F16C, and the OS saves ymm
inline constexpr Features kAvxVnni = 1u << 1;  // VEX-encoded VPDPBUSD
inline constexpr Features kAvx512 = 1u << 2;   // F + BW + DQ + VL, and the OS saves zmm
inline constexpr Features kAvx512Vnni = 1u << 3;
inline constexpr Features kAvx512Bf16 = 1u << 4;
inline constexpr Features kAmxInt8 = 1u << 5;  // AMX-TILE + AMX-INT8, and the OS lets us use tiles
// In registers, products of BF16 are faster than FP32 multiply-adds: twice on AMD's Zen 4 and 5, while Intel's
// cores take twice as long for them. No instruction, but rows may name it.
inline constexpr Features kFastBf16 = 1u << 6;
inline constexpr Features kAmxBf16 = 1u << 7;  // AMX-BF16, where there is kAmxInt8

// What this process can run, from CPUID and XCR0. On Linux it asks for the AMX tiles.
Features detect();

// detect(), lowered (never raised) by KLENS_ISA=scalar|avx2|avxvnni|avx512|amx. Read once. An
// unknown word lowers to scalar; isa_variable_error() reports it.
Features active();

// What a KLENS_ISA word allows: all bits of the levels up to it. Sets *known to whether it is one.
Features allowed_by(const std::string& level, bool* known);

// The best level that active() covers: "scalar", "avx2", "avxvnni", "avx512" or "amx".
const char* level_name();

// An error text if KLENS_ISA is set to no known level, else "".
std::string isa_variable_error();

constexpr bool covers(Features have, Features need) { return (have & need) == need; }

}  // namespace klens::cpu
