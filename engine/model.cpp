#include "engine/model.h"

#include <algorithm>

#include "base/error.h"
#include "engine/rope_tables.h"

namespace klens {
namespace {

// A model that computes in FP32 throughout keeps its keys and values so too.
KvType default_kv(const Checkpoint& checkpoint, Activations activations) {
  const auto& units = checkpoint.units;
  const bool full = std::all_of(units.begin(), units.end(), [](const auto& unit) {
    return unit.second.view.layout == Layout::kRowsF32;
  });
  return full || activations == Activations::kF32 ? KvType::kF32 : KvType::kF16;
}

// The weights in pieces for threads to take. A model's pieces are fewer than 2^20.
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

// Integer units round their activations unless told otherwise.
int64_t activation_group(const Format* format, Activations activations) {
  return format == nullptr || activations == Activations::kF32 ? 0 : format->activation_group;
}

bool of_16_bits(const WeightView& view) {
  return view.layout == Layout::kRowsF16 || view.layout == Layout::kRowsBf16 ||
         view.layout == Layout::kTilesF16;
}

}  // namespace

const char* activations_name(Activations activations) {
  switch (activations) {
    case Activations::kF32:
      return "f32";
    case Activations::kBf16:
      return "bf16";
    default:
      return "int8";
  }
}

Weight make_weight(const WeightView& view, const Format* format, int activation_bits,
                   const Model& model) {
  Device::Adopted adopted = model.device().adopt(view);
  return {.view = adopted.view,
          .activation_group = activation_group(format, model.options().activations),
          .activation_planes = activation_bits / 8,
          .memory = std::move(adopted.memory)};
}

Model::Model(Checkpoint checkpoint, const ModelOptions& options)
    : checkpoint_(std::move(checkpoint)),
      options_(options),
      device_((options.device == nullptr ? devices().front() : *options.device)
                  .make(options.threads, options.device_index)),
      constants_(*device_) {
  options_.threads = device_->threads();
  if (!options_.kv) options_.kv = default_kv(checkpoint_, options.activations);
  for (const LinearSpec& unit : units()) {
    const StoredUnit& stored = checkpoint_.units.at(unit.name);
    const int bits = stored.choice ? stored.choice->activation_bits : Choice().activation_bits;
    weights_.push_back(make_weight(stored.view, stored.format, bits, *this));
  }
  if (options_.activations != Activations::kF32 && device_->fast_bf16()) allow_bf16();
  std::vector<std::function<void()>> preparations;
  make_blocks(preparations);
  for (const std::span<const std::byte> piece : pieces_of(checkpoint_))
    preparations.push_back([this, piece] { device_->fetch(piece); });
  device_->prepare(static_cast<int64_t>(preparations.size()),
                   [&](int64_t i) { preparations[static_cast<size_t>(i)](); });
  if (spec().prefix) run_prefix();
}

// A file of other formats too has FP16 where a plan or its maker took care, and what was measured
// of it was measured with exact products.
void Model::allow_bf16() {
  const bool quantised = std::ranges::any_of(checkpoint_.units, [](const auto& unit) {
    const Format* format = unit.second.format;
    return format != nullptr && format != &kBaseFormat;
  });
  if (quantised) return;
  std::vector<Weight> rounded = weights_;
  for (Weight& weight : rounded) weight.bf16 = of_16_bits(weight.view);
  if (std::ranges::none_of(rounded, &Weight::bf16)) return;
  (options_.activations == Activations::kBf16 ? weights_ : prompt_weights_) = std::move(rounded);
}

void Model::make_blocks(std::vector<std::function<void()>>& preparations) {
  const MixerContext context{checkpoint_, *device_, kv_type(), states_, constants_, preparations};
  for (const BlockSpec& block : spec().blocks) {
    blocks_.emplace_back(block, context);
    needs_embedding_ = needs_embedding_ || block.shared.has_value();
  }
  final_norm_.emplace(spec().final_norm, context);
}

SequenceState Model::initial_state() const {
  if (after_prefix_) return *after_prefix_;
  SequenceState state = transient_state();
  state.slots = Memory(*device_, states_.bytes());
  return state;
}

SequenceState Model::transient_state() const {
  SequenceState state;
  state.layout = &states_;
  for (const KvCacheSpec& cache : spec().caches)
    state.caches.emplace_back(*device_, cache, kv_type());
  return state;
}

void Model::run_prefix() {
  const int64_t rows = prefix_rows();
  SequenceState state = initial_state();
  const Sequence sequence{
      .state = &state, .row = 0, .tokens = rows, .position = 0, .horizon = rows};
  device_->run([&](Lane& lane) {
    run({.ids = {}, .sequences = {&sequence, 1}, .weights = weights_},
        lane.take(rows, spec().d_model), lane);
  });
  after_prefix_ = std::move(state);
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

// Fills x with the input of the block that the pass begins with, which is returned: the first, or
// that of the unit that it resumes at. A matrix that is the embedding too changes that of the
// first.
int64_t Model::begin(const PassRequest& request, const Rows& x, Batch& batch, Lane& lane) const {
  if (request.kept != nullptr && units()[request.unit].matrix != spec().embedding) {
    const int64_t block = units()[request.unit].block;
    lane.copy(request.kept->inputs[static_cast<size_t>(block)], x);
    batch.embedded = request.kept->inputs.front();
    return block;
  }
  const int64_t prefix = batch.sequences.front().position == 0 ? prefix_rows() : 0;
  const int64_t tokens = static_cast<int64_t>(request.ids.size());
  KLENS_CHECK(prefix + tokens == x.count());
  if (prefix > 0) lane.write(checkpoint_.small_values(*spec().prefix).data(), x.rows(0, prefix));
  if (tokens > 0)
    lane.embed(units_of(spec().matrices[spec().embedding], request.weights), request.ids,
               spec().embedding_scale, x.rows(prefix, tokens));
  if (needs_embedding_) {
    batch.embedded = lane.take(x.count(), x.width());
    lane.copy(x, batch.embedded);
  }
  return 0;
}

void Model::run(const PassRequest& request, const Rows& x, Lane& lane) const {
  const Lane::Frame frame(lane);
  Batch batch(request.sequences);
  batch.drafted = request.drafted;
  for (const RopeSpec& rope : spec().ropes)
    batch.ropes.push_back(make_rope_table(rope, request.sequences, lane));
  const Pass pass{lane, request.weights, batch};
  const int64_t first = begin(request, x, batch, lane);
  const MatrixId from = units()[request.unit].matrix;
  const bool resumes = request.kept != nullptr && from != spec().embedding;
  const int64_t end = request.one_block ? first + 1 : blocks();
  for (int64_t b = first; b < end; ++b) {
    const size_t at = static_cast<size_t>(b);
    Flow flow = b == first && resumes     ? Flow(lane, request.kept->stages[at], from)
                : request.keep != nullptr ? Flow(lane, &request.keep->stages[at])
                                          : Flow(lane, nullptr);
    if (request.keep != nullptr) lane.copy(x, request.keep->inputs[at]);
    run_block(b, x, flow, pass);
  }
  if (request.keep != nullptr) lane.copy(x, request.keep->inputs.back());
}

void Model::run_block(int64_t block, const Rows& x, Flow& flow, const Pass& pass) const {
  blocks_[static_cast<size_t>(block)].run(x, flow, pass);
  block_runs_.fetch_add(1, std::memory_order_relaxed);
}

void Model::final_norm(const Rows& x, const Rows& y, const std::vector<Weight>& weights,
                       Lane& lane) const {
  final_norm_->run(x, y, {lane, weights, Batch({})});
}

void Model::head(const Rows& x, const Rows& logits, const std::vector<Weight>& weights,
                 Lane& lane) const {
  const Lane::Frame frame(lane);
  LinearInput normed(lane.take(x.count(), x.width()));
  final_norm(x, normed.x, weights, lane);
  lane.linear(units_of(spec().matrices[spec().head], weights), normed, {}, logits);
  if (spec().logit_scale != 1) lane.scale(logits, spec().logit_scale, logits);
}

void Model::look_at_head(const Rows& x, const std::vector<Weight>& weights, Lane& lane) const {
  const Lane::Frame frame(lane);
  LinearInput normed(lane.take(x.count(), x.width()));
  final_norm(x, normed.x, weights, lane);
  lane.look(units_of(spec().matrices[spec().head], weights), normed);
}

void make_room(const Model& model, int64_t rows, KeptPass& kept) {
  const int64_t d_model = model.spec().d_model, blocks = model.blocks();
  const int64_t bytes = (blocks + 1) * rows * d_model * static_cast<int64_t>(sizeof(float));
  kept.stages.resize(static_cast<size_t>(blocks));
  if (kept.memory.bytes() == bytes) return;
  kept.memory = Memory(model.device(), bytes, Memory::Begin::kAnything);
  const Rows all(kept.memory.address(), (blocks + 1) * rows, d_model);
  kept.inputs.clear();
  for (int64_t b = 0; b <= blocks; ++b) kept.inputs.push_back(all.rows(b * rows, rows));
}

void stream_logits(const Model& model, const Rows& x, const std::vector<Weight>& weights,
                   Lane& lane, const RowSink& sink) {
  // Enough rows that unpacking the head's weights is little beside using them, few enough that
  // their logits stay in cache.
  const int64_t vocab = model.spec().vocab, rows = x.count();
  const int64_t some = std::min(rows, std::clamp<int64_t>((int64_t{1} << 20) / vocab, 64, 256));
  const Lane::Frame frame(lane);
  const Rows logits = lane.take(some, vocab);
  for (int64_t t = 0; t < rows; t += some) {
    const int64_t count = std::min(some, rows - t);
    const Lane::Frame of_sink(lane);
    const Rows part = logits.rows(0, count);
    model.head(x.rows(t, count), part, weights, lane);
    sink(t, part);
  }
}

}  // namespace klens
