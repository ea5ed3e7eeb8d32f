// The instructions of AMX, for *_amx.cpp alone. Internal to the file that includes it.
#pragma once
#include <cstdint>

namespace klens::cpu {
namespace {

// In words of assembly, as GCC 12's intrinsics do not say that a load reads memory, which lets the
// compiler move the stores of what is to be loaded behind it.
struct Tiles {
  static void configure(const void* config) {
    __asm__ volatile("ldtilecfg (%0)" : : "r"(config) : "memory");
  }
  static void release() { __asm__ volatile("tilerelease" : : : "memory"); }
  template <int I>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(I));
  }
  // A tile's rows, stride bytes apart.
  template <int I>
  static void load(const void* from, int64_t stride) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(I), "r"(from), "r"(stride) : "memory");
  }
  // C += A B, signed by signed bytes.
  template <int C, int A, int B>
  static void dot() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  // C += A B, pairs of BF16.
  template <int C, int A, int B>
  static void dot_pairs() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  template <int I>
  static void store(void* to, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(I), "r"(to), "r"(stride) : "memory");
  }
};

}  // namespace
}  // namespace klens::cpu
