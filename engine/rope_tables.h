#pragma once
#include "engine/device/device.h"

namespace klens {

// cos and sin of the rotations of a pass's rows, in the lane's scratch.
RopeTable make_rope_table(const RopeSpec& spec, std::span<const Sequence> sequences, Lane& lane);

}  // namespace klens
