#pragma once
#include <functional>
#include <map>
#include <string>

#include "loaders/checkpoint.h"

namespace klens {

// The native model file: a safetensors file whose __metadata__ holds our part under klens.*.
// FORMAT.md beside this header is the specification.
// The version is the least that a reader has to know.
inline constexpr const char* kKlensFormatVersion = "1.1";
inline constexpr const char* kKlensFormatVersionNewer =
    "2.0";  // some activations have 16 bits, or some units some of their rows

// Reads a .klens file; units stay mapped where they lie. Throws Error naming file, tensor and cure.
// verify: also the checksum of every tensor.
Checkpoint read_klens_file(const std::string& path, bool verify);

// What is written besides the weights.
struct KlensHeader {
  Plan plan;  // one choice for every unit of the source's spec
  std::map<std::string, std::string> provenance;
};

// Bytes of the 8-byte size and the JSON header that write_klens_file would write.
size_t klens_header_bytes(const Checkpoint& source, const KlensHeader& header);

// Tensor bytes of the small tensors in the file: the part no plan can change.
size_t klens_fixed_bytes(const Checkpoint& source);

// Makes one unit's packed weights; called once per unit, in order.
using Quantize = std::function<PackedWeight(const StoredUnit& unit, const Choice& choice)>;

// Writes the model file through a temporary file, fsync and rename. Returns the file's bytes.
// Throws Error, also for a file of more bytes than the plan's budget, counted as they are written;
// what `quantize` throws passes through, and nothing is left behind.
size_t write_klens_file(const std::string& path, const Checkpoint& source,
                        const KlensHeader& header, const Quantize& quantize);

}  // namespace klens
