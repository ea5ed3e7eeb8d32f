#pragma once
#include <span>

#include "kernels/cpu/features.h"

namespace klens::cpu {

// One row of a kernel family's table. The engine runs the first row the CPU covers; tests compare
// every row it covers with the last; benches time every row it covers.
template <class Fn>
struct Variant {
  const char* name;
  Features needs;
  Fn* run;
};

// Tables are ordered best first and end in the scalar row, which needs nothing and is the
// specification.
template <class Fn>
constexpr const Variant<Fn>& best_variant(std::span<const Variant<Fn>> table, Features have) {
  for (const Variant<Fn>& row : table)
    if (covers(have, row.needs)) return row;
  return table.back();
}

}  // namespace klens::cpu
