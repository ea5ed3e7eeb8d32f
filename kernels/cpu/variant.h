#pragma once
#include <span>

#include "kernels/cpu/features.h"

namespace klens::cpu {

// An entry of a kernel family's table. The engine runs the first that the CPU covers; tests compare
// each that it covers with the last; benches time each.
template <class Fn>
struct Variant {
  const char* name;
  Features needs;
  Fn* run;
};

// Tables are ordered best first and end in the scalar one, which needs nothing and is the
// specification.
template <class Fn>
constexpr const Variant<Fn>& best_variant(std::span<const Variant<Fn>> table, Features have) {
  for (const Variant<Fn>& variant : table)
    if (covers(have, variant.needs)) return variant;
  return table.back();
}

}  // namespace klens::cpu
