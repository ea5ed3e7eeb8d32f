#pragma once
#include "engine/jobs/progress.h"
#include "klens/klens.h"

namespace klens {

// The caller's progress function as jobs call it; none for NULL.
inline ProgressFn progress_fn(klens_progress_fn fn, void* user) {
  if (fn == nullptr) return nullptr;
  return [fn, user](const ProgressReport& report) {
    const klens_progress progress{report.stage, report.fraction, report.seconds_left,
                                  report.job_seconds_left, report.job_bytes};
    return fn(user, &progress) != 0;
  };
}

}  // namespace klens
