#pragma once
#include <string>
#include <string_view>

#include "quant/plan.h"
#include "quant/profile.h"

namespace klens {

// profile.json and plan.json, schema version 1. What is written reads back equal: numbers are the
// shortest that do. Keys stand in the schema's order, and of optional ones only those that are
// known.
//
// Readers ignore unknown keys and allow missing metrics. Anything else that is wrong,
// another schema version too, is an Error(kBadFile) of one line with the file's name, the key and
// the cure. `name` is the file's name for messages.
std::string profile_to_json(const Profile& profile);
Profile profile_from_json(std::string_view text, const std::string& name);

std::string plan_to_json(const Plan& plan);
Plan plan_from_json(std::string_view text, const std::string& name);

// The shortest text of a number that reads back equal, as these files write it.
std::string number_text(double value);

}  // namespace klens
