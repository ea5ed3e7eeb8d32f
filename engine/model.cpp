#include "engine/model.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/info.h>

#include <algorithm>

#include "kernels/cpu/norm/rms_norm.h"
#include "loaders/error.h"

namespace klens {
namespace {

// More threads than cores only take turns, and tbb would say so on stderr.
int thread_count(int asked) {
  const int cores = tbb::info::default_concurrency();
  return asked > 0 ? std::min(asked, cores) : cores;
}

void add(const float* delta, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) x[i] += delta[i];
}

}  // namespace

Model::Model(Checkpoint checkpoint, const ModelOptions& options)
    : checkpoint_(std::move(checkpoint)), options_(options), arena_(thread_count(options.threads)) {
  options_.threads = thread_count(options.threads);
  const ModelSpec& spec = checkpoint_.spec;
  spec.each_unit([&](const LinearSpec& unit) {
    const StoredUnit& stored = checkpoint_.units.at(unit.name);
    units_.push_back(unit);
    weights_.emplace_back(stored.view, stored.format, options.activations);
  });
  head_unit_ = units_.size() - 1;
  embedding_unit_ = spec.embedding ? 0 : head_unit_;
  size_t unit = spec.embedding ? 1 : 0;
  state_offset_.push_back(0);
  for (const BlockSpec& block : spec.blocks) {
    const Mamba1Spec& mixer = std::get<Mamba1Spec>(block.mixer);
    blocks_.push_back({.norm = checkpoint_.small.at(block.norm.tensor).data(),
                       .norm_eps = block.norm_eps,
                       .mixer = Mamba1(mixer, checkpoint_, unit),
                       .first_unit = unit});
    mixer.each_unit([&](const LinearSpec&) { ++unit; });
    const int64_t size =
        std::visit([](const auto& m) { return m.state_size(); }, blocks_.back().mixer);
    state_offset_.push_back(state_offset_.back() + size);
  }
}

void Model::run(const std::function<void(const Executor&)>& work) const {
  if (options_.threads == 1) return work(Executor(1));
  arena_.execute([&] { work(Executor(options_.threads)); });
}

void Model::run_jobs(int64_t count,
                     const std::function<void(int64_t, const Executor&, Scratch&)>& job) const {
  run([&](const Executor& executor) {
    if (executor.threads() == 1 || count < executor.threads()) {
      Scratch scratch;
      for (int64_t i = 0; i < count; ++i) job(i, executor, scratch);
      return;
    }
    tbb::enumerable_thread_specific<Scratch> scratches;
    const Executor alone(1);
    tbb::parallel_for(
        int64_t{0}, count, [&](int64_t i) { job(i, alone, scratches.local()); },
        tbb::simple_partitioner());
  });
}

void Model::check_ids(std::span<const int32_t> ids) const {
  for (const int32_t id : ids)
    if (id < 0 || id >= spec().vocab)
      throw Error(ErrorKind::kBadArgument,
                  "token id " + std::to_string(id) + " is outside the vocabulary of " +
                      std::to_string(spec().vocab) + " of " + checkpoint_.path);
}

void Model::embed(std::span<const int32_t> ids, float* x, const Pass& pass) const {
  const WeightView& table = pass.weights[embedding_unit_].view;
  for (size_t t = 0; t < ids.size(); ++t)
    expand_row(table, ids[t], x + static_cast<int64_t>(t) * table.cols);
}

void Model::normalise(const Block& block, const float* x, int64_t tokens, float* y,
                      const Pass& pass) const {
  const int64_t d_model = spec().d_model;
  const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  pass.executor.ranges(tokens, d_model * 4, [&](int64_t begin, int64_t end) {
    norm({.x = x + begin * d_model,
          .x_stride = d_model,
          .y = y + begin * d_model,
          .y_stride = d_model,
          .weight = block.norm,
          .tokens = end - begin,
          .cols = d_model,
          .epsilon = block.norm_eps});
  });
}

void Model::run_blocks(int64_t begin, int64_t end, float* x, int64_t tokens, float* state,
                       const Pass& pass) const {
  const Scratch::Frame frame(pass.scratch);
  float* normed = pass.scratch.take<float>(tokens * spec().d_model);
  float* delta = pass.scratch.take<float>(tokens * spec().d_model);
  for (int64_t i = begin; i < end; ++i) {
    const Block& block = blocks_[static_cast<size_t>(i)];
    const Scratch::Frame inner(pass.scratch);
    float* own =
        state == nullptr ? fresh_state(i, pass) : state + state_offset_[static_cast<size_t>(i)];
    normalise(block, x, tokens, normed, pass);
    std::visit([&](const auto& mixer) { mixer.forward(normed, tokens, own, delta, nullptr, pass); },
               block.mixer);
    add(delta, tokens * spec().d_model, x);
    block_runs_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Model::run_block_keeping(int64_t index, float* x, int64_t tokens, float* kept,
                              const Pass& pass) const {
  const Block& block = blocks_[static_cast<size_t>(index)];
  const Scratch::Frame frame(pass.scratch);
  float* normed = pass.scratch.take<float>(tokens * spec().d_model);
  float* delta = pass.scratch.take<float>(tokens * spec().d_model);
  normalise(block, x, tokens, normed, pass);
  std::visit(
      [&](const auto& mixer) {
        mixer.forward(normed, tokens, fresh_state(index, pass), delta, kept, pass);
      },
      block.mixer);
  add(delta, tokens * spec().d_model, x);
  block_runs_.fetch_add(1, std::memory_order_relaxed);
}

void Model::resume_block(int64_t index, size_t unit, const float* kept, float* x, int64_t tokens,
                         const Pass& pass) const {
  const Block& block = blocks_[static_cast<size_t>(index)];
  const Scratch::Frame frame(pass.scratch);
  float* normed = pass.scratch.take<float>(tokens * spec().d_model);
  float* delta = pass.scratch.take<float>(tokens * spec().d_model);
  const size_t local = unit - block.first_unit;
  if (local == 0) normalise(block, x, tokens, normed, pass);
  std::visit([&](const auto& mixer) { mixer.resume(local, kept, normed, tokens, delta, pass); },
             block.mixer);
  add(delta, tokens * spec().d_model, x);
  block_runs_.fetch_add(1, std::memory_order_relaxed);
}

int64_t Model::kept_size(int64_t block, int64_t tokens) const {
  return std::visit([&](const auto& mixer) { return mixer.kept_size(tokens); },
                    blocks_[static_cast<size_t>(block)].mixer);
}

float* Model::fresh_state(int64_t block, const Pass& pass) const {
  const size_t b = static_cast<size_t>(block);
  const int64_t size = state_offset_[b + 1] - state_offset_[b];
  float* state = pass.scratch.take<float>(size);
  std::fill_n(state, size, 0.0f);
  return state;
}

void Model::head(const float* x, int64_t tokens, float* logits, const Pass& pass) const {
  const int64_t d_model = spec().d_model;
  const Scratch::Frame frame(pass.scratch);
  float* normed = pass.scratch.take<float>(tokens * d_model);
  const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  norm({.x = x,
        .x_stride = d_model,
        .y = normed,
        .y_stride = d_model,
        .weight = checkpoint_.small.at(spec().final_norm.tensor).data(),
        .tokens = tokens,
        .cols = d_model,
        .epsilon = spec().final_norm_eps});
  LinearInput(normed, d_model, tokens, d_model)
      .apply(pass.weights[head_unit_], nullptr, logits, spec().vocab, pass);
}

void stream_logits(const Model& model, const float* x, int64_t tokens, const Pass& pass,
                   const LogitSink& sink) {
  // Enough positions that unpacking the head's weights is little beside using them, few enough that
  // their logits stay in cache.
  const int64_t vocab = model.spec().vocab;
  const int64_t positions =
      std::min(tokens, std::clamp<int64_t>((int64_t{1} << 20) / vocab, 64, 256));
  const Scratch::Frame frame(pass.scratch);
  float* logits = pass.scratch.take<float>(positions * vocab);
  for (int64_t t = 0; t < tokens; t += positions) {
    const int64_t count = std::min(positions, tokens - t);
    model.head(x + t * model.spec().d_model, count, logits, pass);
    sink(t, count, logits);
  }
}

}  // namespace klens
