#include "engine/model.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>

#include "loaders/error.h"

namespace klens {
namespace {

// More threads than cores only take turns, and tbb would say so on stderr.
int thread_count(int asked) {
  const int cores = tbb::info::default_concurrency();
  return asked > 0 ? std::min(asked, cores) : cores;
}

// A model that computes in FP32 throughout keeps its keys and values so too.
cpu::KvType default_kv(const Checkpoint& checkpoint, Activations activations) {
  const auto& units = checkpoint.units;
  const bool full = std::all_of(units.begin(), units.end(), [](const auto& unit) {
    return unit.second.view.layout == Layout::kRowsF32;
  });
  return full || activations == Activations::kF32 ? cpu::KvType::kF32 : cpu::KvType::kF16;
}

// The weights in pieces for threads to take. A model's pieces are fewer than a Team's parts may be.
std::vector<std::span<const std::byte>> pieces_of(const Checkpoint& checkpoint) {
  constexpr size_t kPiece = size_t{1} << 20;
  std::vector<std::span<const std::byte>> pieces;
  for (const LinearSpec& unit : checkpoint.spec.units) {
    const StoredUnit& stored = checkpoint.units.at(unit.name);
    const auto* bytes = static_cast<const std::byte*>(stored.view.data);
    for (size_t at = 0; at < stored.bytes; at += kPiece)
      pieces.emplace_back(bytes + at, std::min(kPiece, stored.bytes - at));
  }
  return pieces;
}

// Touches weights where the kernel, which maps sixteen pages at a time, will map them: their first
// use would stop for each. MADV_POPULATE_READ takes twice as long.
void fetch(std::span<const std::byte> weights) {
  constexpr size_t kStep = 16 * 4096;
  const volatile std::byte* bytes = weights.data();
  for (size_t at = 0; at < weights.size(); at += kStep) static_cast<void>(bytes[at]);
}

}  // namespace

Model::Model(Checkpoint checkpoint, const ModelOptions& options)
    : checkpoint_(std::move(checkpoint)),
      options_(options),
      tbb_arena_(thread_count(options.threads)) {
  options_.threads = thread_count(options.threads);
  if (options_.threads > 1) team_ = std::make_unique<Team>(options_.threads);
  if (!options_.kv) options_.kv = default_kv(checkpoint_, options.activations);
  for (const LinearSpec& unit : units()) {
    const StoredUnit& stored = checkpoint_.units.at(unit.name);
    weights_.emplace_back(stored.view, stored.format, options.activations);
  }
  std::vector<std::function<void()>> preparations;
  make_blocks(preparations);
  for (const std::span<const std::byte> piece : pieces_of(checkpoint_))
    preparations.push_back([piece] { fetch(piece); });
  const auto prepare = [&](int64_t i) { preparations[static_cast<size_t>(i)](); };
  const int64_t count = static_cast<int64_t>(preparations.size());
  if (team_)
    team_->run(count, prepare);
  else
    for (int64_t i = 0; i < count; ++i) prepare(i);
  if (spec().prefix) run_prefix();
}

void Model::make_blocks(std::vector<std::function<void()>>& preparations) {
  const MixerContext context{checkpoint_, kv_type(), states_, arena_, preparations};
  for (const BlockSpec& block : spec().blocks) {
    blocks_.emplace_back(block, context);
    needs_embedding_ = needs_embedding_ || block.shared.has_value();
  }
  final_norm_.emplace(spec().final_norm, spec().d_model, checkpoint_);
}

SequenceState Model::initial_state() const {
  if (after_prefix_) return *after_prefix_;
  SequenceState state = transient_state();
  state.fixed.reserve(fixed_state_floats());
  use_large_pages(state.fixed.data(), fixed_state_floats() * sizeof(float));
  state.fixed.assign(fixed_state_floats(), 0.0f);
  return state;
}

SequenceState Model::transient_state() const {
  SequenceState state;
  for (const KvCacheSpec& cache : spec().caches) state.caches.emplace_back(cache, kv_type());
  return state;
}

void Model::run_prefix() {
  const int64_t rows = spec().prefix_rows();
  SequenceState state = initial_state();
  run([&](const Executor& executor) {
    Scratch scratch;
    const Sequence sequences[] = {
        {.state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows}};
    const Batch batch(sequences);
    const Pass pass{executor, scratch, weights_, batch};
    float* x = scratch.take<float>(rows * spec().d_model);
    embed_prefix(x);
    run_blocks(0, blocks(), x, pass);
  });
  after_prefix_ = std::move(state);
}

void Model::run(const std::function<void(const Executor&)>& work) const {
  const Executor executor(team_.get(), options_.threads, clock_);
  if (options_.threads == 1) return work(executor);
  tbb_arena_.execute([&] { work(executor); });
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
    const Executor alone;
    tbb::parallel_for(
        int64_t{0}, count, [&](int64_t i) { job(i, alone, scratches.local()); },
        tbb::simple_partitioner());
  });
}

const std::string& Model::identity() const {
  std::call_once(identified_, [&] {
    identity_ =
        checkpoint_.checksums.empty() ? checkpoint_xxh3(checkpoint_) : checkpoint_.checksums;
  });
  return identity_;
}

void Model::check_ids(std::span<const int32_t> ids) const {
  for (const int32_t id : ids)
    if (id < 0 || id >= spec().vocab)
      throw Error(ErrorKind::kBadArgument,
                  "token id " + std::to_string(id) + " is outside the vocabulary of " +
                      std::to_string(spec().vocab) + " of " + checkpoint_.path);
}

void Model::forward(std::span<const int32_t> ids, std::span<const Sequence> sequences, float* x,
                    const Executor& executor, Scratch& scratch) const {
  const Scratch::Frame frame(scratch);
  Batch batch(sequences);
  const Pass pass{executor, scratch, weights_, batch};
  embed(ids, x, pass);
  if (needs_embedding_) {
    const int64_t size = batch.rows * spec().d_model;
    float* embedded = scratch.take<float>(size);
    std::copy_n(x, size, embedded);
    batch.embedded = embedded;
  }
  run_blocks(0, blocks(), x, pass);
}

void Model::embed(std::span<const int32_t> ids, float* x, const Pass& pass) const {
  const WeightView& table = pass.weights[spec().embedding].view;
  for (size_t t = 0; t < ids.size(); ++t)
    expand_row(table, ids[t], x + static_cast<int64_t>(t) * table.cols);
  scale(x, static_cast<int64_t>(ids.size()), table.cols, table.cols, spec().embedding_scale, pass);
}

void Model::embed_prefix(float* x) const {
  if (!spec().prefix) return;
  const std::vector<float>& rows = checkpoint_.small_values(*spec().prefix);
  std::copy(rows.begin(), rows.end(), x);
}

void Model::run_blocks(int64_t begin, int64_t end, float* x, const Pass& pass) const {
  for (int64_t i = begin; i < end; ++i) {
    Flow flow(pass.scratch, nullptr);
    run_block(i, x, flow, pass);
  }
}

void Model::run_block(int64_t block, float* x, Flow& flow, const Pass& pass) const {
  blocks_[static_cast<size_t>(block)].run(x, flow, pass);
  block_runs_.fetch_add(1, std::memory_order_relaxed);
}

void Model::head(const float* x, int64_t rows, float* logits, const Pass& pass) const {
  const int64_t d_model = spec().d_model;
  const Scratch::Frame frame(pass.scratch);
  float* normed = pass.scratch.take<float>(rows * d_model);
  final_norm_->run(x, d_model, normed, d_model, rows, pass);
  LinearInput(normed, d_model, rows, d_model)
      .apply(pass.weights[spec().head], nullptr, logits, spec().vocab, pass);
  scale(logits, rows, spec().vocab, spec().vocab, spec().logit_scale, pass);
}

void stream_logits(const Model& model, const float* x, int64_t rows, const Pass& pass,
                   const LogitSink& sink) {
  // Enough rows that unpacking the head's weights is little beside using them, few enough that
  // their logits stay in cache.
  const int64_t vocab = model.spec().vocab;
  const int64_t some = std::min(rows, std::clamp<int64_t>((int64_t{1} << 20) / vocab, 64, 256));
  const Scratch::Frame frame(pass.scratch);
  float* logits = pass.scratch.take<float>(some * vocab);
  for (int64_t t = 0; t < rows; t += some) {
    const int64_t count = std::min(some, rows - t);
    model.head(x + t * model.spec().d_model, count, logits, pass);
    sink(t, count, logits);
  }
}

}  // namespace klens
