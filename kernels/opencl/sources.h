#pragma once
#include <span>

namespace klens {

// The files of this folder, which the build puts into the library: cmake/embed_text.cmake.
struct OpenClSource {
  const char* name;  // "norm.cl"
  const char* text;
};
std::span<const OpenClSource> opencl_sources();

}  // namespace klens
