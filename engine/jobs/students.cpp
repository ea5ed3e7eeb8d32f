#include "engine/jobs/students.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/error.h"

namespace klens {
namespace {

// One pass over a whole fresh sequence.
Sequence whole(SequenceState& state, int64_t rows) {
  return {.state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows};
}

// The bytes of a unit that is in one of the formats.
PackedWeight copy_of(const StoredUnit& unit) {
  const WeightView& view = unit.view;
  PackedWeight copy{.format = unit.format,
                    .rows = view.rows,
                    .cols = view.cols,
                    .qweight = AlignedBuffer(weight_bytes(*unit.format, view.rows, view.cols)),
                    .scale = AlignedBuffer(scale_bytes(*unit.format, view.rows, view.cols))};
  std::memcpy(copy.qweight.data(), view.data, copy.qweight.size());
  if (view.scale != nullptr) std::memcpy(copy.scale.data(), view.scale, copy.scale.size());
  return copy;
}

// What was kept of a unit in a format; none where it is of another size.
std::optional<PackedWeight> packed_of(const KeptBytes::Piece& piece, const Format& format,
                                      const WeightView& view) {
  PackedWeight packed{.format = &format,
                      .rows = view.rows,
                      .cols = view.cols,
                      .qweight = AlignedBuffer(weight_bytes(format, view.rows, view.cols)),
                      .scale = AlignedBuffer(scale_bytes(format, view.rows, view.cols))};
  if (piece.parts.size() != 2 || piece.parts[0].size() != packed.qweight.size() ||
      piece.parts[1].size() != packed.scale.size())
    return std::nullopt;
  std::ranges::copy(piece.parts[0], packed.qweight.data());
  std::ranges::copy(piece.parts[1], packed.scale.data());
  return packed;
}

// The block whose kept input a student starts from. A matrix that is the embedding too changes that
// of the first.
int64_t first_block(const Model& model, size_t unit) {
  const LinearSpec& spec = model.units()[unit];
  return spec.matrix == model.spec().embedding ? 0 : spec.block;
}

std::vector<double> largest_of(std::vector<double> values, size_t count) {
  count = std::min(count, values.size());
  const auto end = values.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(values.begin(), end, values.end(), std::greater());
  values.erase(end, values.end());
  return values;
}

}  // namespace

PackedWeight quantise_unit(const StoredUnit& unit, const Choice& choice, const InputStats& inputs) {
  if (unit.format != nullptr && has_weights_of(unit, choice)) return copy_of(unit);
  if (const std::string why = unknown_part(choice); !why.empty())
    throw Error(ErrorKind::kBadArgument, why);
  // Isolated: a thread that waits here must not start another student on top of this one.
  std::optional<PackedWeight> packed;
  tbb::this_task_arena::isolate([&] { packed = quantize(choice, unit.view, inputs); });
  // Work that is called off, as when another student throws, leaves loops inside it half done.
  if (tbb::is_current_task_group_canceling())
    throw Error(ErrorKind::kInterrupted, "quantization was called off");
  return std::move(*packed);
}

PackedWeight quantise_unit(const Model& model, size_t unit, const Choice& choice,
                           const UnitInputs& inputs) {
  const StoredUnit& stored = model.checkpoint().units.at(model.units()[unit].name);
  const bool quick = choice.quantizer == kQuantizers[0].name || has_weights_of(stored, choice);
  if (quick || inputs.kept() == nullptr)
    return quantise_unit(stored, choice, inputs.of(unit, choice));
  const std::string name =
      "unit " + std::to_string(unit) + " " + choice.format + " " + choice.quantizer;
  if (const auto piece = inputs.kept()->find(name))
    if (auto found = packed_of(*piece, *find_format(choice.format), stored.view))
      return std::move(*found);
  PackedWeight made = quantise_unit(stored, choice, inputs.of(unit, choice));
  const KeptBytes::Part parts[] = {{made.qweight.data(), made.qweight.size()},
                                   {made.scale.data(), made.scale.size()}};
  inputs.kept()->keep(name, parts);
  return made;
}

PackedUnits pack_plan(const Model& model, const Plan& plan, const UnitInputs& inputs,
                      Progress& progress) {
  PackedUnits packed;
  for (const LinearSpec& unit : model.units()) {
    const auto found = plan.units.find(unit.name);
    if (found == plan.units.end())
      throw Error(ErrorKind::kBadArgument, "the plan has no format for unit " + unit.name + " of " +
                                               model.checkpoint().path +
                                               "; make one from a profile of that model");
    const Choice& choice = found->second;
    packed.push_back(std::make_unique<PackedUnit>(
        PackedUnit{quantise_unit(model, packed.size(), choice, inputs), choice.activation_bits}));
    progress.step(0);  // asks whether to stop
  }
  return packed;
}

StudentRunner::StudentRunner(const Model& teacher, const PackedUnits* base,
                             const UnitInputs& inputs, Judge judge)
    : model_(teacher),
      inputs_(inputs),
      base_weights_(teacher.weights()),
      base_judges_(base == nullptr || judge == Judge::kBase) {
  if (base == nullptr) return;
  for (size_t i = 0; i < base->size(); ++i)
    if ((*base)[i] != nullptr)
      base_weights_[i] = make_weight((*base)[i]->weight.view(), (*base)[i]->weight.format,
                                     (*base)[i]->activation_bits, teacher);
}

int64_t StudentRunner::rows() const {
  return model_.prefix_rows() + static_cast<int64_t>(ids_.size());
}

Rows StudentRunner::keep(const std::vector<Weight>& weights, Lane& lane) {
  state_ = model_.transient_state();
  make_room(model_, rows(), kept_);
  const Sequence sequence = whole(state_, rows());
  model_.run({.ids = ids_, .sequences = {&sequence, 1}, .weights = weights, .keep = &kept_},
             lane.take(rows(), model_.spec().d_model), lane);
  return kept_.inputs.back();
}

WindowScore StudentRunner::begin_window(std::span<const int32_t> ids) {
  ids_.assign(ids.begin(), ids.end());
  const int64_t tokens = static_cast<int64_t>(ids.size()), vocab = model_.spec().vocab;
  const int64_t bytes = tokens * vocab * static_cast<int64_t>(sizeof(float));
  if (teacher_memory_.bytes() != bytes)
    teacher_memory_ = Memory(model_.device(), bytes, Memory::Begin::kAnything);
  teacher_ = Rows(teacher_memory_.address(), tokens, vocab);
  WindowScore base;
  model_.device().run([&](Lane& lane) {
    const Lane::Frame frame(lane);
    const std::vector<Weight>& judge = base_judges_ ? base_weights_ : model_.weights();
    Rows last = keep(judge, lane);
    model_.head(last.rows(model_.prefix_rows(), tokens), teacher_, judge, lane);
    if (!base_judges_) last = keep(base_weights_, lane);
    base = score(last, base_weights_, lane);
  });
  return base;
}

WindowScore StudentRunner::score(const Rows& x, const std::vector<Weight>& weights,
                                 Lane& lane) const {
  const int64_t tokens = static_cast<int64_t>(ids_.size());
  WindowScore sum;
  std::vector<PositionScore> scores;
  std::vector<double> kls;
  const Rows own = x.rows(model_.prefix_rows(), tokens);
  stream_logits(model_, own, weights, lane, [&](int64_t first, const Rows& student) {
    const Rows teacher = teacher_.rows(first, student.count());
    scores.resize(static_cast<size_t>(student.count()));
    lane.divergence(teacher, student, scores);
    const float *z = lane.host(teacher), *zq = lane.host(student);
    for (int64_t i = 0; i < student.count(); ++i, z += teacher.width(), zq += student.width()) {
      const PositionScore& d = scores[static_cast<size_t>(i)];
      sum.kl += d.kl;
      kls.push_back(std::isnan(d.kl) ? INFINITY : d.kl);
      sum.kl_reverse += d.kl_reverse;
      sum.squared_error += d.squared_error;
      sum.squared += d.squared;
      ++sum.positions;
      if (first + i + 1 >= tokens) continue;
      const int32_t next = ids_[static_cast<size_t>(first + i + 1)];
      const double ce = d.lse_q - zq[next];
      sum.ce += ce;
      sum.delta_ce += ce - (d.lse_p - z[next]);
      ++sum.labels;
    }
  });
  sum.largest = largest_of(std::move(kls), largest_);
  return sum;
}

// Caches that a block from `first` on reads and an earlier one fills are the base's.
SequenceState StudentRunner::student_state(int64_t first) const {
  SequenceState state = model_.transient_state();
  const std::vector<KvCacheSpec>& caches = model_.spec().caches;
  for (size_t i = 0; i < caches.size(); ++i)
    if (caches[i].first_block <= first && caches[i].last_block >= first &&
        caches[i].first_block < caches[i].last_block)
      state.caches[i] = state_.caches[i];
  return state;
}

double suffix_cost(const Model& model, size_t unit) {
  const int64_t from = first_block(model, unit);
  double cost = 0;
  for (const LinearSpec& other : model.units())
    if (other.block >= from)
      cost += static_cast<double>(other.rows) * static_cast<double>(other.cols);
  return cost;
}

int64_t StudentRunner::kept_bytes() const {
  int64_t bytes = kept_.memory.bytes() + teacher_memory_.bytes();
  for (const KeptStages& stages : kept_.stages)
    for (const Kept& kept : stages) bytes += kept.memory.bytes();
  return bytes;
}

std::shared_ptr<const PackedWeight> StudentRunner::packed(const Student& student) {
  const std::pair<size_t, Choice> key(student.unit, student.choice);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = packed_.find(key); found != packed_.end()) return found->second;
  }
  const auto made = std::make_shared<const PackedWeight>(
      quantise_unit(model_, student.unit, student.choice, inputs_));
  const size_t bytes = made->qweight.size() + made->scale.size();
  const std::lock_guard lock(mutex_);
  if (packed_bytes_ + bytes > most_packed_) return made;
  packed_bytes_ += bytes;
  packed_.emplace(key, made);
  return made;
}

void StudentRunner::let_go(const Student& student) {
  const std::lock_guard lock(mutex_);
  const auto found = packed_.find({student.unit, student.choice});
  if (found == packed_.end()) return;
  packed_bytes_ -= found->second->qweight.size() + found->second->scale.size();
  packed_.erase(found);
}

WindowScore StudentRunner::run_whole(const std::vector<Weight>& weights, Lane& lane) const {
  SequenceState state = model_.transient_state();
  const Sequence sequence = whole(state, rows());
  const Lane::Frame frame(lane);
  const Rows x = lane.take(rows(), model_.spec().d_model);
  model_.run({.ids = ids_, .sequences = {&sequence, 1}, .weights = weights}, x, lane);
  return score(x, weights, lane);
}

Rows StudentRunner::resume(size_t unit, const std::vector<Weight>& weights, bool one_block,
                           Lane& lane) const {
  SequenceState state = student_state(first_block(model_, unit));
  const Sequence sequence = whole(state, rows());
  const Rows x = lane.take(rows(), model_.spec().d_model);
  model_.run({.ids = ids_,
              .sequences = {&sequence, 1},
              .weights = weights,
              .kept = &kept_,
              .unit = unit,
              .one_block = one_block},
             x, lane);
  return x;
}

WindowScore StudentRunner::run_one(const Student& student, Lane& lane) {
  const std::shared_ptr<const PackedWeight> weight = packed(student);
  std::vector<Weight> weights = base_weights_;
  weights[student.unit] =
      make_weight(weight->view(), weight->format, student.choice.activation_bits, model_);
  const Lane::Frame frame(lane);
  return score(resume(student.unit, weights, false, lane), weights, lane);
}

double StudentRunner::block_error(const BlockStudent& student, Lane& lane) const {
  const size_t unit = student.front().first;
  const int64_t block = model_.units()[unit].block;
  std::vector<Weight> weights = base_weights_;
  for (const auto& [changed, weight] : student) weights[changed] = weight;
  const Lane::Frame frame(lane);
  const Rows x = resume(unit, weights, true, lane);
  const auto own = [&](const Rows& all) {
    return all.rows(model_.prefix_rows(), static_cast<int64_t>(ids_.size()));
  };
  const Rows was = own(kept_.inputs[static_cast<size_t>(block) + 1]), is = own(x);
  const float *a = lane.host(was), *b = lane.host(is);
  const int64_t count = is.count() * is.width();
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::pow(double{b[i]} - double{a[i]}, 2);
  const double scale = model_.spec().blocks[static_cast<size_t>(block)].residual_scale;
  return sum / static_cast<double>(count) / (scale * scale);
}

std::vector<double> StudentRunner::block_errors(std::span<const BlockStudent> students) const {
  std::vector<double> errors(students.size());
  model_.device().run_jobs(static_cast<int64_t>(students.size()), [&](int64_t i, Lane& lane) {
    errors[static_cast<size_t>(i)] = block_error(students[static_cast<size_t>(i)], lane);
  });
  return errors;
}

std::vector<WindowScore> StudentRunner::run(std::span<const Student> students,
                                            const OnDone& on_done) {
  std::vector<WindowScore> scores(students.size());
  std::mutex mutex;
  model_.device().run_jobs(static_cast<int64_t>(students.size()), [&](int64_t i, Lane& lane) {
    const size_t s = static_cast<size_t>(i);
    scores[s] = run_one(students[s], lane);
    const std::lock_guard lock(mutex);
    on_done(s, scores[s]);
  });
  return scores;
}

}  // namespace klens
