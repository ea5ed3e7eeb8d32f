#pragma once
#include <cstddef>
#include <span>
#include <string>

#include "loaders/pytorch/pickle_value.h"

namespace klens::pytorch {

// What one pickle holds. Texts point into its bytes.
struct Unpickled {
  Objects objects;
  ObjectId root = 0;
  size_t bytes = 0;  // up to and with STOP
};

// Reads the pickle at the front of `bytes`: plain values, containers and tensors. Nothing is ever
// called or imported: a global that is not in the table, or an opcode that makes anything else, is
// an Error that names it. Takes time and memory in proportion to the bytes, up to a fixed limit.
Unpickled unpickle(std::span<const std::byte> bytes, const std::string& name);

}  // namespace klens::pytorch
