#pragma once
#include "loaders/gguf/mapping.h"
#include "quant/format.h"

namespace klens {

// The format that has the integers, groups and minima of all parts of a tensor; null if none does.
const Format* stored_format(const TensorRecipe& recipe);

// Lays rows [first, first + rows) of a tensor out in its stored_format: `to` has packed_bytes, all
// 0, tiles and then scales and minima. Integers are the file's; so are scales and minima but where
// the type makes them of two numbers: those are rounded to FP16, once. False if the format does not
// hold them: an integer of -128, a scale that FP16 does not reach, NaN. Threads: tbb's current
// arena.
bool repack(const TensorRecipe& recipe, const Format& format, int64_t first, int64_t rows,
            std::byte* to);

}  // namespace klens
