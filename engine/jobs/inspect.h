#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "loaders/checkpoint.h"

namespace klens {

// What klens_inspect reports of a file or folder. Throws Error for a damaged one.
nlohmann::ordered_json inspect(const std::string& path, bool verify);

// {"name","kind","block","rows","cols","format","quantizer","bytes"}
nlohmann::ordered_json unit_row(const LinearSpec& unit, const std::string& format,
                                const std::string& quantizer, size_t bytes);

}  // namespace klens
