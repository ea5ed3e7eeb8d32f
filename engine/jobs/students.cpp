#include "engine/jobs/students.h"

#include <algorithm>
#include <mutex>

#include "kernels/cpu/divergence/divergence.h"
#include "loaders/error.h"
#include "quant/quantizers/rtn.h"

namespace klens {

PackedWeight quantise_unit(const StoredUnit& unit, const Choice& choice) {
  const Format* format = find_format(choice.format);
  if (format == nullptr)
    throw Error(ErrorKind::kBadArgument,
                "format \"" + choice.format + "\" is not one of " + std::string(format_names()));
  if (choice.quantizer != "rtn")
    throw Error(ErrorKind::kBadArgument,
                "quantizer \"" + choice.quantizer + "\" is not one that klens has (rtn)");
  // Isolated: a thread that waits here must not start another student on top of this one.
  std::optional<PackedWeight> packed;
  tbb::this_task_arena::isolate([&] { packed = quantize_rtn(*format, unit.view); });
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

void StudentRunner::keep(const std::vector<Weight>& weights) {
  const int64_t tokens = static_cast<int64_t>(ids_.size()), size = tokens * model_.spec().d_model;
  inputs_.resize(static_cast<size_t>((model_.blocks() + 1) * size));
  between_.resize(static_cast<size_t>(model_.blocks()));
  model_.run([&](const Executor& executor) {
    const Pass pass{executor, scratch_, weights};
    model_.embed(ids_, inputs_.data(), pass);
    for (int64_t b = 0; b < model_.blocks(); ++b) {
      float* x = inputs_.data() + (b + 1) * size;
      std::copy_n(x - size, size, x);
      std::vector<float>& between = between_[static_cast<size_t>(b)];
      between.resize(static_cast<size_t>(model_.kept_size(b, tokens)));
      model_.run_block_keeping(b, x, tokens, between.data(), pass);
    }
  });
}

WindowScore StudentRunner::begin_window(std::span<const int32_t> ids) {
  ids_.assign(ids.begin(), ids.end());
  const int64_t tokens = static_cast<int64_t>(ids.size()), size = tokens * model_.spec().d_model;
  const int64_t vocab = model_.spec().vocab;
  keep(model_.weights());
  teacher_.resize(static_cast<size_t>(tokens * vocab));
  WindowScore base;
  model_.run([&](const Executor& executor) {
    const Pass pass{executor, scratch_, model_.weights()};
    model_.head(inputs_.data() + model_.blocks() * size, tokens, teacher_.data(), pass);
  });
  if (!base_is_teacher_) keep(base_weights_);
  model_.run([&](const Executor& executor) {
    base = score(inputs_.data() + model_.blocks() * size, Pass{executor, scratch_, base_weights_});
  });
  return base;
}

WindowScore StudentRunner::score(const float* x, const Pass& pass) const {
  const int64_t vocab = model_.spec().vocab, tokens = static_cast<int64_t>(ids_.size());
  const auto divergence = cpu::best_variant(cpu::divergence_variants(), cpu::active()).run;
  WindowScore sum;
  stream_logits(model_, x, tokens, pass, [&](int64_t first, int64_t count, const float* logits) {
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
  const LinearSpec& spec = model_.units()[unit];
  const bool embeds =
      spec.block < 0 || (!model_.spec().embedding && unit + 1 == model_.units().size());
  return embeds ? 0 : spec.block;
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
  const PackedWeight packed = quantise_unit(model_.checkpoint().units.at(spec.name),
                                            {.format = student.format->name, .quantizer = "rtn"});
  std::vector<Weight> weights = base_weights_;
  weights[student.unit] = Weight(packed.view(), student.format, model_.options().activations);

  const int64_t tokens = static_cast<int64_t>(ids_.size()), size = tokens * model_.spec().d_model;
  const int64_t first = first_block(student.unit);
  const Scratch::Frame frame(scratch);
  const Pass pass{executor, scratch, weights};
  float* x = scratch.take<float>(size);
  if (spec.block == first && first < model_.blocks()) {
    std::copy_n(inputs_.data() + first * size, size, x);
    model_.resume_block(first, student.unit, between_[static_cast<size_t>(first)].data(), x, tokens,
                        pass);
    model_.run_blocks(first + 1, model_.blocks(), x, tokens, nullptr, pass);
  } else if (first == model_.blocks()) {
    std::copy_n(inputs_.data() + first * size, size, x);
  } else {
    model_.embed(ids_, x, pass);
    model_.run_blocks(0, model_.blocks(), x, tokens, nullptr, pass);
  }
  return score(x, pass);
}

std::vector<WindowScore> StudentRunner::run(std::span<const Student> students,
                                            const std::function<void()>& on_done) {
  std::vector<WindowScore> scores(students.size());
  std::mutex mutex;
  model_.run_jobs(static_cast<int64_t>(students.size()),
                  [&](int64_t i, const Executor& executor, Scratch& scratch) {
                    const size_t s = static_cast<size_t>(i);
                    scores[s] = run_one(students[s], executor, scratch);
                    const std::lock_guard lock(mutex);
                    on_done();
                  });
  return scores;
}

}  // namespace klens
