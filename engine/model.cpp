#include "engine/model.h"

#include <algorithm>

#include "base/error.h"
#include "engine/rope_tables.h"
#include "quant/layer.h"

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

// The weights in pieces for threads to take, but for those that a front of so many blocks has. A
// model's pieces are fewer than 2^20.
std::vector<std::span<const std::byte>> pieces_of(const Checkpoint& checkpoint, int64_t front) {
  constexpr size_t kPiece = size_t{1} << 20;
  std::vector<std::span<const std::byte>> pieces;
  for (const LinearSpec& unit : checkpoint.spec.units) {
    if (front > 0 && unit.block < front) continue;
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

// The layer of each block, as the checkpoint counts them, and one more than the last.
std::vector<int64_t> layers_of_blocks(const ModelSpec& spec) {
  std::vector<int64_t> layers(spec.blocks.size() + 1, -1);
  for (const LinearSpec& unit : spec.units) {
    if (unit.block < 0 || unit.block >= static_cast<int64_t>(spec.blocks.size())) continue;
    int64_t& layer = layers[static_cast<size_t>(unit.block)];
    layer = std::max(layer, layer_of(unit.name).value_or(-1));
  }
  for (size_t b = 0; b < layers.size(); ++b)
    if (layers[b] < 0) layers[b] = b == 0 ? 0 : layers[b - 1] + (b + 1 == layers.size());
  return layers;
}

bool is_cpu(const ModelOptions& options) {
  return options.device == nullptr || options.device == &devices().front();
}

// How many blocks the first `count` layers are. Throws Error where they share keys and values with
// later ones.
int64_t blocks_of_layers(const Checkpoint& checkpoint, int64_t count) {
  const ModelSpec& spec = checkpoint.spec;
  const std::vector<int64_t> layers = layers_of_blocks(spec);
  const auto first_beyond = std::ranges::find_if(layers, [&](int64_t l) { return l >= count; });
  const int64_t blocks = first_beyond - layers.begin();
  for (const KvCacheSpec& cache : spec.caches) {
    if (cache.first_block >= blocks || cache.last_block < blocks) continue;
    const int64_t before = layers[static_cast<size_t>(cache.first_block)];
    const int64_t behind = layers[static_cast<size_t>(cache.last_block)] + 1;
    throw Error(ErrorKind::kBadArgument,
                checkpoint.path + ": --gpu-layers " + std::to_string(count) + ": layers " +
                    std::to_string(before) + " to " + std::to_string(behind - 1) +
                    " share keys and values and stay on one device; give " +
                    std::to_string(before) + " or " + std::to_string(behind));
  }
  return blocks;
}

// What of the options' device there is: all, its first layers, or nothing.
enum class Part { kAll, kFront, kNone };
Part part_of(const Checkpoint& checkpoint, const ModelOptions& options) {
  if (!options.gpu_layers) return Part::kAll;
  if (is_cpu(options))
    throw Error(ErrorKind::kBadArgument,
                "--gpu-layers is of a --backend other than cpu; leave it out");
  if (*options.gpu_layers < 0)
    throw Error(ErrorKind::kBadArgument, "--gpu-layers must be 0 or more");
  if (*options.gpu_layers == 0) return Part::kNone;
  return *options.gpu_layers >= layers_of_blocks(checkpoint.spec).back() ? Part::kAll
                                                                         : Part::kFront;
}

std::unique_ptr<Device> make_device(const Checkpoint& checkpoint, const ModelOptions& options) {
  const Part part = part_of(checkpoint, options);
  if (!is_cpu(options) && part == Part::kAll)
    return options.device->make(options.threads, options.device_index);
  // One that is not there, or is told something wrong, is refused even if nothing is to run on it.
  if (part == Part::kNone) options.device->make(options.threads, options.device_index);
  return devices().front().make(options.threads, -1);
}

std::unique_ptr<Model::Front> make_front(const Checkpoint& checkpoint,
                                         const ModelOptions& options) {
  if (part_of(checkpoint, options) != Part::kFront) return nullptr;
  auto front = std::make_unique<Model::Front>();
  front->layers = *options.gpu_layers;
  front->blocks = blocks_of_layers(checkpoint, front->layers);
  front->device = options.device->make(options.threads, options.device_index);
  front->constants.emplace(*front->device);
  return front;
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

Weight Model::adopt(const WeightView& view, const Format* format, int activation_bits,
                    Device& device) const {
  Device::Adopted adopted = device.adopt(view);
  return {.view = adopted.view,
          .activation_group = activation_group(format, options_.activations),
          .activation_planes = activation_bits / 8,
          .memory = std::move(adopted.memory)};
}

Weight make_weight(const WeightView& view, const Format* format, int activation_bits,
                   const Model& model) {
  return model.adopt(view, format, activation_bits, model.device());
}

// A unit as the checkpoint has it, on one of the devices.
Weight Model::stored_weight(const LinearSpec& unit, Device& device) const {
  const StoredUnit& stored = checkpoint_.units.at(unit.name);
  const int bits = stored.choice ? stored.choice->activation_bits : Choice().activation_bits;
  try {
    return adopt(stored.view, stored.format, bits, device);
  } catch (const Error& error) {
    throw Error(error.kind(), checkpoint_.path + ": " + unit.name + ": " + error.what());
  }
}

Model::Model(Checkpoint checkpoint, const ModelOptions& options)
    : checkpoint_(std::move(checkpoint)),
      options_(options),
      device_(make_device(checkpoint_, options)),
      front_(make_front(checkpoint_, options)),
      constants_(*device_) {
  options_.threads = device_->threads();
  if (!options_.kv) options_.kv = default_kv(checkpoint_, options.activations);
  for (const LinearSpec& unit : units()) {
    weights_.push_back(stored_weight(unit, *device_));
    if (front_)
      front_->weights.push_back(unit.block < front_->blocks || unit.matrix == spec().embedding
                                    ? stored_weight(unit, *front_->device)
                                    : Weight());
  }
  if (options_.activations != Activations::kF32 && device_->fast_bf16()) allow_bf16();
  std::vector<std::function<void()>> preparations;
  make_blocks(preparations);
  const int64_t in_front = front_ ? front_->blocks : 0;
  for (const std::span<const std::byte> piece : pieces_of(checkpoint_, in_front))
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
  if (front_) {
    const MixerContext in_front{checkpoint_,        *front_->device, kv_type(), states_,
                                *front_->constants, preparations,    true};
    for (int64_t b = 0; b < front_->blocks; ++b)
      blocks_.emplace_back(spec().blocks[static_cast<size_t>(b)], in_front);
  }
  for (size_t b = blocks_.size(); b < spec().blocks.size(); ++b)
    blocks_.emplace_back(spec().blocks[b], context);
  needs_embedding_ = std::ranges::any_of(
      spec().blocks, [](const BlockSpec& block) { return block.shared.has_value(); });
  final_norm_.emplace(spec().final_norm, context);
}

SequenceState Model::initial_state() const {
  if (after_prefix_) return *after_prefix_;
  SequenceState state = transient_state();
  state.slots = make_slots();
  return state;
}

Slots Model::make_slots(Memory::Begin begin) const {
  Slots slots{.own = Memory(*device_, states_.own_bytes(), begin), .front = {}};
  if (front_) slots.front = Memory(*front_->device, states_.front_bytes(), begin);
  return slots;
}

KvCache Model::make_cache(size_t index) const {
  const KvCacheSpec& cache = spec().caches[index];
  const bool in_front = front_ && cache.last_block < front_->blocks;
  return {in_front ? *front_->device : *device_, cache, kv_type()};
}

std::string Model::level() const {
  if (!front_) return device_->level();
  const std::string layers =
      front_->layers == 1 ? "layer" : std::to_string(front_->layers) + " layers";
  return device_->level() + ", the first " + layers + " on " + front_->device->name() + " " +
         front_->device->level();
}

void Model::check_whole(const std::string& what) const {
  if (front_)
    throw Error(ErrorKind::kUnsupported,
                checkpoint_.path + ": " + what + " runs on one device; leave out --gpu-layers");
}

SequenceState Model::transient_state() const {
  SequenceState state;
  state.layout = &states_;
  for (size_t i = 0; i < spec().caches.size(); ++i) state.caches.push_back(make_cache(i));
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
int64_t Model::begin(const PassRequest& request, const std::vector<Weight>& weights, const Rows& x,
                     Batch& batch, Lane& lane) const {
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
    lane.embed(units_of(spec().matrices[spec().embedding], weights), request.ids,
               spec().embedding_scale, x.rows(prefix, tokens));
  if (needs_embedding_) {
    batch.embedded = lane.take(x.count(), x.width());
    lane.copy(x, batch.embedded);
  }
  return 0;
}

bool Model::can_stop_between() const {
  return !front_ && !needs_embedding_ &&
         std::ranges::all_of(spec().caches, [](const KvCacheSpec& cache) {
           return cache.first_block == cache.last_block;
         });
}

void Model::run(const PassRequest& request, const Rows& x, Lane& lane) const {
  KLENS_CHECK((request.first_block == 0 && !request.end_block) || can_stop_between());
  run_once(request, x, lane);
  while (lane.must_repeat()) {
    const auto sums = [](const Weight& weight) {
      return !weight.input_squares.none() || !weight.input_products.none();
    };
    if (std::ranges::any_of(request.weights, sums))  // which would have this pass twice
      throw Error(ErrorKind::kUnsupported,
                  "keys or values left what FP16 holds (65504); run the model with --kv f32");
    run_once(request, x, lane);
  }
}

void Model::run_once(const PassRequest& request, const Rows& x, Lane& lane) const {
  const Lane::Frame frame(lane);
  Batch batch(request.sequences);
  batch.drafted = request.drafted;
  for (const RopeSpec& rope : spec().ropes)
    batch.ropes.push_back(make_rope_table(rope, request.sequences, lane));
  const Pass pass{lane, request.weights, batch};
  const int64_t first = request.first_block > 0 ? request.first_block
                        : front_                ? front_->blocks
                                                : begin(request, request.weights, x, batch, lane);
  if (front_ && request.first_block == 0) run_front(request, x, batch, lane);
  const MatrixId from = units()[request.unit].matrix;
  const bool resumes = request.kept != nullptr && from != spec().embedding;
  const int64_t end = request.one_block ? first + 1 : request.end_block.value_or(blocks());
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

// What the front leaves in x, and the embedding where later blocks come back to it. Passes that
// begin elsewhere, or that have other weights, are of jobs that run on one device.
void Model::run_front(const PassRequest& request, const Rows& x, Batch& batch, Lane& lane) const {
  if (request.keep != nullptr || request.kept != nullptr || request.drafted != nullptr ||
      (&request.weights != &weights_ && &request.weights != &prompt_weights()))
    check_whole("what is measured of single matrices");
  if (needs_embedding_) batch.embedded = lane.take(x.count(), x.width());
  front_->device->run([&](Lane& there) {
    const Rows stream = there.take(x.count(), x.width());
    Batch own(request.sequences);
    for (const RopeSpec& rope : spec().ropes)
      own.ropes.push_back(make_rope_table(rope, request.sequences, there));
    const Pass pass{there, front_->weights, own};
    do {
      begin(request, front_->weights, stream, own, there);
      for (int64_t b = 0; b < front_->blocks; ++b) {
        Flow flow(there, nullptr);
        run_block(b, stream, flow, pass);
      }
    } while (there.must_repeat());
    if (needs_embedding_) lane.write(there.host(own.embedded), batch.embedded);
    lane.write(there.host(stream), x);
  });
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
