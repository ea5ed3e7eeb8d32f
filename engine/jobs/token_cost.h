#pragma once
#include "engine/model.h"

namespace klens {

// What the weights of a model ask of the machine for one decoded token.
struct TokenCost {
  // Read: units as they lie packed, one that several places share once for each, of experts those
  // that a token goes to; small tensors; of an embedding of its own one row, which is not counted.
  double weight_bytes = 0;
  double multiply_adds = 0;       // of the linear layers before the head
  double head_multiply_adds = 0;  // of the head
};

TokenCost token_cost(const Model& model);

// How often a decoded token multiplies by each unit: of experts its share on average, of blocks
// that several places share as often as it meets them, of an embedding of its own not at all.
std::vector<double> uses_of_units(const Model& model);

}  // namespace klens
