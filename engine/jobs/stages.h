#pragma once

namespace klens::stages {

// Of a profile and what is made from it, in their order; forecasts find them by name.
inline constexpr const char *kSample = "sample calibration text",
                            *kAlike = "see what inputs are alike",
                            *kColumns = "see what columns matter",
                            *kTogether = "see what columns go together",
                            *kRound = "round what surrounds a matrix",
                            *kCompare = "compare formats by what outputs lose",
                            *kModules = "see what modules lose", *kProfile = "profile",
                            *kCheck = "measure what was predicted",
                            *kMeasure = "measure the whole plan", *kWrite = "write";

}  // namespace klens::stages
