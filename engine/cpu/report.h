#pragma once
#include "engine/devices.h"

namespace klens {

DeviceReport cpu_report();

}  // namespace klens
