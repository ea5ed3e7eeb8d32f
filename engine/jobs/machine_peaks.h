#pragma once
#include "engine/jobs/progress.h"

namespace klens {

// What this machine gives to `threads` threads at once, best of several passes.
struct MachinePeaks {
  double read_gb_s = 0;      // memory, read once from end to end
  double integer_gop_s = 0;  // 8-bit multiply-adds in registers, of the best row; one counts two
};

MachinePeaks machine_peaks(int threads, Progress& progress);

}  // namespace klens
