#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace klens {

// A format that a unit could have, before any KL is measured.
struct Option {
  int64_t bytes;
  double output_error;  // relative; see output_error.h
};

// Which of them to measure, in their order: none that another beats in bytes and error alike, and
// at most `most` (2 or more). The smallest and the most precise stay; of the others goes, one after
// the other, the one whose error its two neighbours' come closest to, or below, on a line between
// them over bytes (of logarithms, as KL grows with the error and errors span decades).
std::vector<size_t> shortlist(std::span<const Option> options, size_t most);

}  // namespace klens
