#include "loaders/checksum.h"

#include <xxhash.h>

#include <cstdio>
#include <map>
#include <memory>
#include <new>

#include "loaders/checkpoint.h"

namespace klens {

namespace {

std::string hex(XXH64_hash_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// XXH3-64 of what is added, one after the other.
class Xxh3 {
 public:
  Xxh3() : state_(XXH3_createState()) {
    if (state_ == nullptr) throw std::bad_alloc();
    XXH3_64bits_reset(state_.get());
  }
  void add(const void* bytes, size_t count) { XXH3_64bits_update(state_.get(), bytes, count); }
  std::string hex() const { return klens::hex(XXH3_64bits_digest(state_.get())); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

}  // namespace

std::string xxh3_hex(std::span<const std::byte> bytes) {
  return hex(XXH3_64bits(bytes.data(), bytes.size()));
}

namespace {

// Where a matrix is cut makes no other model: units of one layout count as one.
std::string digest_of(const Checkpoint& checkpoint, const MatrixSpec& matrix) {
  std::string text;
  const UnitId end = matrix.first_unit + matrix.units;
  for (UnitId u = matrix.first_unit; u < end;) {
    const Layout layout = checkpoint.units.at(checkpoint.spec.units[u].name).view.layout;
    Xxh3 data, scales;
    bool scaled = false;
    for (; u < end; ++u) {
      const StoredUnit& unit = checkpoint.units.at(checkpoint.spec.units[u].name);
      const WeightView& w = unit.view;
      if (w.layout != layout) break;
      data.add(w.data,
               unit.format == nullptr ? unit.bytes : weight_bytes(*unit.format, w.rows, w.cols));
      if (w.scale == nullptr) continue;
      scaled = true;
      scales.add(w.scale, scale_bytes(*unit.format, w.rows, w.cols));
    }
    text += (text.empty() ? "" : " ") + std::to_string(static_cast<int>(layout)) + " " +
            data.hex() + (scaled ? " " + scales.hex() : "");
  }
  return text;
}

}  // namespace

std::string checkpoint_xxh3(const Checkpoint& checkpoint) {
  std::map<std::string, const MatrixSpec*> matrices;
  for (const MatrixSpec& matrix : checkpoint.spec.matrices) matrices[matrix.name] = &matrix;
  std::string digests = checkpoint.spec.architecture;
  for (const auto& [name, matrix] : matrices) {
    digests += "\n" + name + " " + std::to_string(matrix->rows) + "x" +
               std::to_string(matrix->cols) + " " + digest_of(checkpoint, *matrix);
  }
  for (const auto& [name, stored] : checkpoint.small) {
    const std::vector<float> values = to_f32(stored);
    digests += "\n" + name + " " + xxh3_hex(std::as_bytes(std::span(values)));
  }
  return xxh3_hex(std::as_bytes(std::span(digests)));
}

}  // namespace klens
