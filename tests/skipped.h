#pragma once

namespace klens::testing {

// Set where a test leaves something out because this machine lacks it. The program then ends in 77, which
// ctest shows as skipped: what may be left out is therefore a ctest entry of its own.
extern bool skipped;

}  // namespace klens::testing
