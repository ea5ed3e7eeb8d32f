#pragma once

namespace klens {

// What this machine gives to `threads` threads at once. Takes a tenth of a second or two.

// Memory, read once from end to end, in GB/s: the median of several passes, as other users of the
// same memory come and go.
double read_bandwidth(int threads);

// 8-bit multiply-adds in registers, of the best row, in GOP/s, one counting two: the best of
// several passes.
double integer_peak(int threads);

}  // namespace klens
