#pragma once
#include <string>

#include "engine/device/device.h"

namespace klens {

// What a family's program, specialised so, computes wrongly on the device, seen by the CPU on small
// cases; "" if nothing. Drivers are known to miscompile, and to say nothing of it.
std::string self_check(Device& device, const std::string& family, const std::string& options);

}  // namespace klens
