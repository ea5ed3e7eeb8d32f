#include "loaders/checksum.h"

#include <xxhash.h>

#include <cstdio>

#include "loaders/checkpoint.h"

namespace klens {

std::string xxh3_hex(std::span<const std::byte> bytes) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(bytes.data(), bytes.size())));
  return text;
}

std::string checkpoint_xxh3(const Checkpoint& checkpoint) {
  std::string digests = checkpoint.spec.architecture;
  for (const auto& [name, unit] : checkpoint.units) {
    const WeightView& w = unit.view;
    const size_t data_bytes =
        unit.format == nullptr ? unit.bytes : weight_bytes(*unit.format, w.rows, w.cols);
    digests += "\n" + name + " " + std::to_string(w.rows) + "x" + std::to_string(w.cols) + " " +
               std::to_string(static_cast<int>(w.layout)) + " " +
               xxh3_hex({static_cast<const std::byte*>(w.data), data_bytes});
    if (w.scale != nullptr)
      digests += " " + xxh3_hex({reinterpret_cast<const std::byte*>(w.scale),
                                 scale_bytes(*unit.format, w.rows, w.cols)});
  }
  for (const auto& [name, stored] : checkpoint.small) {
    const std::vector<float> values = to_f32(stored);
    digests += "\n" + name + " " + xxh3_hex(std::as_bytes(std::span(values)));
  }
  return xxh3_hex(std::as_bytes(std::span(digests)));
}

}  // namespace klens
