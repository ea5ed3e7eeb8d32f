// What is put off until it is known what comes next.
#include "engine/opencl/put_off.h"

#include <algorithm>
#include <utility>

#include "engine/opencl/lane.h"

namespace klens {

void OpenClLane::settle() {
  const Later off = std::exchange(off_, {});
  if (off.rows) off.rows->launch(nullptr);
  if (off.product) launch_product(*off.product, 0, nullptr);
  if (const auto& sum = off.sum)
    each("add_scaled", sum->to, {sum->base, sum->from, sum->by, sum->to, sum->to.width()});
  for (const Copy& copy : off.copies)
    each("copy_rows", copy.to, {copy.from, copy.to, copy.to.width()});
  for (const Rotation& rotation : off.rotations) launch_rotation(rotation);
}

void OpenClLane::put_off(PutOff made, bool later) {
  settle();
  if (later)
    off_.rows = std::move(made);
  else
    made.launch(nullptr);
}

// Of a product, its work-groups write to what it goes to while others read.
void OpenClLane::put_off(const Sum& sum) {
  if (auto& product = off_.product;
      product && !product->sum && product->width == sum.from.width() && product->begins(sum.from) &&
      !overlap(sum.from, sum.to) && !overlap(sum.from, sum.base) && !reads(sum.to)) {
    product->sum = sum;
    return;
  }
  settle();
  off_.sum = sum;
}

bool OpenClLane::gives(const Rows& x, int64_t group) const {
  if (const auto& rows = off_.rows)
    return same(rows->made, x) && (rows->columns == 0 || rows->columns % group == 0);
  return off_.product && off_.product->begins(x) && off_.product->rounds_in(group);
}

bool OpenClLane::reads(const Extent& memory) const {
  const std::vector<Extent> all = off_.rows      ? off_.rows->reads
                                  : off_.product ? off_.product->reads()
                                                 : std::vector<Extent>();
  return std::ranges::any_of(all, [&](const Extent& one) { return overlap(one, memory); });
}

// ---- products -----------------------------------------------------------------------------------

bool Product::begins(const Rows& rows) const {
  return rows.address() == y.address() && rows.count() == y.count() &&
         rows.stride() == y.stride() && rows.width() <= width;
}

bool Product::rounds_in(int64_t columns) const {
  constexpr int64_t kColumns = 2 * kTileOutputs;  // of a work-group
  return kColumns % columns == 0 &&
         std::all_of(units.begin(), units.end() - 1,
                     [](const Unit& unit) { return unit.view.rows % kColumns == 0; });
}

std::vector<Extent> Product::reads() const {
  std::vector<Extent> all;
  if (sum) all.insert(all.end(), {sum->base, sum->to});
  if (!rounded) {
    all.emplace_back(x);
    return all;
  }
  const int64_t planes = x.count() * rounded->planes;
  const int64_t floats = planes * ((x.width() + rounded->step - 1) / rounded->step) * 4;
  all.emplace_back(rounded->q, planes * rounded->stride);
  all.emplace_back(rounded->scale, floats);
  all.emplace_back(rounded->sum, floats);
  return all;
}

bool Product::takes(const Product& more) const {
  const Rows &next = more.y, &last = y;
  const bool beside =
      next.count() == last.count() && next.stride() == last.stride() &&
      next.address() == last.address() + static_cast<uint64_t>(width) * sizeof(float);
  const bool of_one_input = same(x, more.x) && rounded.has_value() == more.rounded.has_value() &&
                            (!rounded || rounded->q == more.rounded->q);
  return beside && of_one_input && !sum && options == more.options && group == more.group &&
         units.size() + more.units.size() <= kMostUnits;
}

void Product::take(const Product& more) {
  units.insert(units.end(), more.units.begin(), more.units.end());
  width += more.width;
}

}  // namespace klens
