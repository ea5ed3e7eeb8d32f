#pragma once
#include "engine/jobs/profile_job.h"

namespace klens {

// Memory for what saves time, where nobody says how much there may be.
inline constexpr int64_t kUsualSpare = int64_t{1} << 30;

// What a profile will take, found by a pass over a few tokens.
struct Expected {
  Forecast forecast;
  // Bytes for what saves time but is not needed: sums of inputs in one pass, matrices that are
  // kept for the next window.
  int64_t spare = 0;
};

// seen: calibration windows that quantizers look at, as many as there will be. rounded: what
// surrounds a matrix. Throws Error where ProfileOptions::memory is less than what is needed.
Expected expect_profile(const Model& model, const ProfileOptions& options,
                        const Quantizer& quantizer, size_t formats, bool rounded, bool sensitivity);

}  // namespace klens
