#include "engine/jobs/students.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <mutex>

#include "engine/walk.h"
#include "kernels/cpu/divergence/divergence.h"
#include "loaders/error.h"

namespace klens {
namespace {

// One pass over a whole fresh sequence.
Sequence whole(SequenceState& state, int64_t rows) {
  return {.state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows};
}

}  // namespace

PackedWeight quantise_unit(const StoredUnit& unit, const Choice& choice) {
  if (const std::string why = unknown_part(choice); !why.empty())
    throw Error(ErrorKind::kBadArgument, why);
  // Isolated: a thread that waits here must not start another student on top of this one.
  std::optional<PackedWeight> packed;
  tbb::this_task_arena::isolate([&] { packed = quantize(choice, unit.view); });
  // Work that is called off, as when another student throws, leaves loops inside it half done.
  if (tbb::is_current_task_group_canceling())
    throw Error(ErrorKind::kInterrupted, "quantization was called off");
  return std::move(*packed);
}

PackedUnits pack_plan(const Model& model, const Plan& plan) {
  PackedUnits packed;
  for (const LinearSpec& unit : model.units()) {
    const auto found = plan.units.find(unit.name);
    if (found == plan.units.end())
      throw Error(ErrorKind::kBadArgument, "the plan has no format for unit " + unit.name + " of " +
                                               model.checkpoint().path);
    packed.push_back(std::make_unique<PackedWeight>(
        quantise_unit(model.checkpoint().units.at(unit.name), found->second)));
  }
  return packed;
}

StudentRunner::StudentRunner(const Model& teacher, const PackedUnits* base)
    : model_(teacher), base_weights_(teacher.weights()), base_is_teacher_(base == nullptr) {
  if (base == nullptr) return;
  for (size_t i = 0; i < base->size(); ++i)
    if ((*base)[i] != nullptr)
      base_weights_[i] =
          Weight((*base)[i]->view(), (*base)[i]->format, teacher.options().activations);
}

int64_t StudentRunner::rows() const {
  return model_.prefix_rows() + static_cast<int64_t>(ids_.size());
}

void StudentRunner::embed(float* x, const Pass& pass) const {
  model_.embed_prefix(x);
  model_.embed(ids_, x + model_.prefix_rows() * model_.spec().d_model, pass);
}

void StudentRunner::keep(const std::vector<Weight>& weights) {
  const int64_t size = rows() * model_.spec().d_model;
  inputs_.resize(static_cast<size_t>((model_.blocks() + 1) * size));
  between_.resize(static_cast<size_t>(model_.blocks()));
  state_ = model_.transient_state();
  const Sequence sequence = whole(state_, rows());
  model_.run([&](const Executor& executor) {
    Batch batch({&sequence, 1});
    batch.embedded = inputs_.data();
    const Pass pass{executor, scratch_, weights, batch};
    embed(inputs_.data(), pass);
    for (int64_t b = 0; b < model_.blocks(); ++b) {
      float* x = inputs_.data() + (b + 1) * size;
      std::copy_n(x - size, size, x);
      Flow flow(scratch_, &between_[static_cast<size_t>(b)]);
      model_.run_block(b, x, flow, pass);
    }
  });
}

WindowScore StudentRunner::begin_window(std::span<const int32_t> ids) {
  ids_.assign(ids.begin(), ids.end());
  const int64_t tokens = static_cast<int64_t>(ids.size()), d_model = model_.spec().d_model;
  keep(model_.weights());
  teacher_.resize(static_cast<size_t>(tokens * model_.spec().vocab));
  const auto last = [&] { return inputs_.data() + model_.blocks() * rows() * d_model; };
  model_.run([&](const Executor& executor) {
    const Pass pass{executor, scratch_, model_.weights(), no_batch()};
    model_.head(last() + model_.prefix_rows() * d_model, tokens, teacher_.data(), pass);
  });
  if (!base_is_teacher_) keep(base_weights_);
  WindowScore base;
  model_.run([&](const Executor& executor) {
    base = score(last(), Pass{executor, scratch_, base_weights_, no_batch()});
  });
  return base;
}

WindowScore StudentRunner::score(const float* x, const Pass& pass) const {
  const int64_t vocab = model_.spec().vocab, tokens = static_cast<int64_t>(ids_.size());
  const auto divergence = cpu::best_variant(cpu::divergence_variants(), cpu::active()).run;
  WindowScore sum;
  const float* own = x + model_.prefix_rows() * model_.spec().d_model;
  stream_logits(model_, own, tokens, pass, [&](int64_t first, int64_t count, const float* logits) {
    for (int64_t i = 0; i < count; ++i) {
      const float* z = teacher_.data() + (first + i) * vocab;
      const float* zq = logits + i * vocab;
      const cpu::Divergence d = divergence({.z = z, .zq = zq, .vocab = vocab});
      sum.kl += d.kl;
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
  return sum;
}

// The block whose kept input a student starts from. A matrix that is the embedding too changes that
// of the first.
int64_t StudentRunner::first_block(size_t unit) const {
  return unit == model_.spec().embedding ? 0 : model_.units()[unit].block;
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

double StudentRunner::cost(const Student& student) const {
  const int64_t from = first_block(student.unit);
  double cost = 0;
  for (const LinearSpec& unit : model_.units())
    if (unit.block >= from) cost += static_cast<double>(unit.rows) * static_cast<double>(unit.cols);
  return cost;
}

WindowScore StudentRunner::run_one(const Student& student, const Executor& executor,
                                   Scratch& scratch) const {
  const LinearSpec& spec = model_.units()[student.unit];
  const PackedWeight packed =
      quantise_unit(model_.checkpoint().units.at(spec.name), student.choice);
  std::vector<Weight> weights = base_weights_;
  weights[student.unit] = Weight(packed.view(), packed.format, model_.options().activations);

  const int64_t size = rows() * model_.spec().d_model, first = first_block(student.unit);
  const bool from_start = student.unit == model_.spec().embedding;
  SequenceState state = student_state(first);
  const Sequence sequence = whole(state, rows());
  const Scratch::Frame frame(scratch);
  Batch batch({&sequence, 1});
  const Pass pass{executor, scratch, weights, batch};
  float* x = scratch.take<float>(size);
  if (from_start) {
    float* embedded = scratch.take<float>(size);
    embed(embedded, pass);
    std::copy_n(embedded, size, x);
    batch.embedded = embedded;
    model_.run_blocks(0, model_.blocks(), x, pass);
    return score(x, pass);
  }
  batch.embedded = inputs_.data();
  std::copy_n(inputs_.data() + first * size, size, x);
  if (first < model_.blocks()) {
    Flow flow(scratch, between_[static_cast<size_t>(first)], student.unit);
    model_.run_block(first, x, flow, pass);
    model_.run_blocks(first + 1, model_.blocks(), x, pass);
  }
  return score(x, pass);
}

std::vector<WindowScore> StudentRunner::run(std::span<const Student> students,
                                            const OnDone& on_done) {
  std::vector<WindowScore> scores(students.size());
  std::mutex mutex;
  model_.run_jobs(static_cast<int64_t>(students.size()),
                  [&](int64_t i, const Executor& executor, Scratch& scratch) {
                    const size_t s = static_cast<size_t>(i);
                    scores[s] = run_one(students[s], executor, scratch);
                    const std::lock_guard lock(mutex);
                    on_done(s, scores[s]);
                  });
  return scores;
}

}  // namespace klens
