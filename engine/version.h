#pragma once

namespace klens {

inline constexpr const char* kVersion = KLENS_VERSION;  // the project's, from CMakeLists.txt

}  // namespace klens
