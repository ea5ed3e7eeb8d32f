#pragma once
#include "klens/klens.h"

namespace klens {

#define KLENS_QUOTE(number) #number
#define KLENS_QUOTED(number) KLENS_QUOTE(number)
inline constexpr const char* kVersion = KLENS_QUOTED(KLENS_VERSION_MAJOR) "." KLENS_QUOTED(
    KLENS_VERSION_MINOR) "." KLENS_QUOTED(KLENS_VERSION_PATCH);
#undef KLENS_QUOTED
#undef KLENS_QUOTE

}  // namespace klens
