#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace klens {

// XXH3-64 as 16 hex digits.
std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace klens
