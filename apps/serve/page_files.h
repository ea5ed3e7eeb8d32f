#pragma once
#include <span>

namespace klens::apps {

// The page, which the build puts into the program: cmake/embed_text.cmake.
struct PageFile {
  const char* name;  // "page.html"
  const char* text;
};
std::span<const PageFile> page_files();

}  // namespace klens::apps
