#pragma once
#include <optional>
#include <vector>

#include "engine/jobs/progress.h"
#include "engine/model.h"

namespace klens {

class Journal;

// Windows that it is measured on: layers differ by far more than windows do.
inline constexpr size_t kSensitivityWindows = 4;

// kSensitivity of every unit, in the model's order; none of those outside of blocks. The module is
// what the unit's block adds to the residual stream, without its scale; of a unit that several
// blocks share, the first's. Passes run one block each, from what a pass of the model kept, with
// activations as they are. Windows: of one length. packed_bytes: of units that are in 4 bits at one
// time, or one module's. What the journal has is not measured again.
std::vector<std::optional<double>> measure_sensitivity(
    const Model& model, std::span<const std::vector<int32_t>> windows, int64_t packed_bytes,
    Progress& progress, Journal& journal);

}  // namespace klens
