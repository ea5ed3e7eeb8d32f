#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "quant/planners/outliers.h"

namespace klens {

// Scores of modules by layers as others publish them, such as SensiBoost's authors: CSV (RFC 4180)
// whose first line names the columns, in any order, among them "layer", "module" and the score.
// Other columns are passed over. Modules stand in the order of the text.
//
// Throws Error(kBadFile), one line with `name` (the file's), line and cure: for a column that is
// missing, a value that is no number, a layer of a module that stands there twice.
std::vector<LayerScore> scores_from_csv(std::string_view text, const std::string& name,
                                        const std::string& column);

// Whether a text is such a table, rather than JSON.
bool is_score_table(std::string_view text);

}  // namespace klens
