#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/device/device.h"
#include "engine/opencl/queue.h"

namespace klens {

inline bool same(const Rows& a, const Rows& b) {
  return a.address() == b.address() && a.count() == b.count() && a.width() == b.width() &&
         a.stride() == b.stride();
}

// Bytes of a device's memory.
struct Extent {
  Extent(uint64_t address, int64_t bytes)
      : begin(address), end(address + static_cast<uint64_t>(bytes)) {}
  Extent(const Rows& rows)  // NOLINT: is what it is
      : begin(rows.none() ? 0 : rows.address()),
        end(rows.none() ? 0
                        : rows.address() + static_cast<uint64_t>(
                                               (rows.count() - 1) * rows.stride() + rows.width()) *
                                               sizeof(float)) {}
  uint64_t begin, end;
};
inline bool overlap(const Extent& a, const Extent& b) { return a.begin < b.end && b.begin < a.end; }

// ---- what is put off ----------------------------------------------------------------------------
// A lane puts off what it was told last, as what comes next may be done in the same launch. In a
// decoded token each launch saved is time.

// to = base + by * from, which a product that makes `from` takes along, or a norm of `to`.
struct Sum {
  Rows base, from;
  float by;
  Rows to;
};

// What makes rows, and can give them in 8 bits too, in whole groups of columns.
struct PutOff {
  Rows made;
  int64_t columns;            // of `made` that are one work-group's; 0: a row is
  std::vector<Extent> reads;  // in scratch memory, which may be given back before it is done
  std::function<void(const LinearInput::Rounded*)> launch;
};

// y = W x + bias, and a sum of it.
struct Product {
  static constexpr size_t kMostUnits = 3;
  struct Unit {
    WeightView view = {};
    At bias = At(uint64_t{0});
  };
  std::vector<Unit> units;  // of one kind, one below the other
  std::string options;      // of their program
  int64_t group;            // of weights
  Rows x;
  std::optional<LinearInput::Rounded> rounded;  // what x was made of
  Rows y;                                       // of the first
  int64_t width;                                // of all
  std::optional<Sum> sum;

  // Whether rows are the first columns of what it makes.
  bool begins(const Rows& rows) const;
  // Whether it can give its rows in 8 bits, in groups of so many columns.
  bool rounds_in(int64_t columns) const;
  std::vector<Extent> reads() const;
  // Whether one launch does for it and for what follows.
  bool takes(const Product& more) const;
  void take(const Product& more);
};

struct Copy {
  Rows from, to;
};

struct Rotation {
  Rows x;
  int64_t heads;
  RopeTable table;
};

// At most one of these is there.
struct Later {
  std::optional<PutOff> rows;
  std::optional<Product> product;
  std::optional<Sum> sum;
  std::vector<Copy> copies;         // at most two
  std::vector<Rotation> rotations;  // at most two
};

}  // namespace klens
