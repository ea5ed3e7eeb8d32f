#pragma once
#include <nlohmann/json.hpp>

#include "engine/jobs/progress.h"
#include "engine/jobs/text_windows.h"

namespace klens {

// What klens_compare reports: b against a, window by window, both run side by side. Throws Error if
// the vocabularies differ.
nlohmann::ordered_json compare(const Model& a, const Model& b, const Tokenizer& tokenizer,
                               std::string_view text, const WindowOptions& options,
                               Progress& progress);

}  // namespace klens
