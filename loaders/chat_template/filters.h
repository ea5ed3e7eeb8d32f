#pragma once
#include <span>

#include "loaders/chat_template/runtime.h"

namespace klens::jinja {

struct FilterEntry {
  const char* name;
  Value (*filter)(Runtime&, const Value& self, const Args&);
};

// Filters of lists and dicts, and of texts; those of other single values are in filters.cpp.
std::span<const FilterEntry> list_filters();
std::span<const FilterEntry> text_filters();

}  // namespace klens::jinja
