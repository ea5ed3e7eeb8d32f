#include "engine/blocks/mixer.h"

#include <algorithm>

#include "engine/blocks/attention.h"
#include "engine/blocks/delta_net.h"
#include "engine/blocks/hymba.h"
#include "engine/blocks/mamba1.h"
#include "engine/blocks/mamba2.h"
#include "engine/blocks/moe.h"
#include "engine/blocks/parallel.h"
#include "engine/blocks/short_conv.h"

namespace klens {
namespace {

void transpose(const std::vector<float>& values, int64_t rows, int64_t cols, float* to) {
  constexpr int64_t kSome = 64;  // rows that are read a second time out of cache
  for (int64_t begin = 0; begin < rows; begin += kSome)
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t r = begin; r < std::min(rows, begin + kSome); ++r)
        to[c * rows + r] = values[static_cast<size_t>(r * cols + c)];
}

// Which mixer serves a spec.
template <class Spec>
struct MixerOf;
template <>
struct MixerOf<Mamba1Spec> : std::type_identity<Mamba1> {};
template <>
struct MixerOf<Mamba2Spec> : std::type_identity<Mamba2> {};
template <>
struct MixerOf<ShortConvSpec> : std::type_identity<ShortConv> {};
template <>
struct MixerOf<DeltaNetSpec> : std::type_identity<DeltaNet> {};
template <>
struct MixerOf<AttentionSpec> : std::type_identity<Attention> {};
template <>
struct MixerOf<MlpSpec> : std::type_identity<Mlp> {};
template <>
struct MixerOf<MoeSpec> : std::type_identity<Moe> {};
template <>
struct MixerOf<ParallelSpec> : std::type_identity<Parallel> {};
template <>
struct MixerOf<HymbaSpec> : std::type_identity<Hymba> {};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const BlockSpec& block, const MixerContext& context) {
  return std::visit(
      [&]<class Spec>(const Spec& spec) -> std::unique_ptr<Mixer> {
        return std::make_unique<typename MixerOf<Spec>::type>(spec, context);
      },
      block.mixer);
}

Rows MixerContext::values(const NormSpec& norm, int64_t times) const {
  if (!norm.weight) return {};
  std::vector<float> once = checkpoint.small_values(*norm.weight), all;
  for (float& weight : once) weight += norm.offset;
  for (int64_t i = 0; i < times; ++i) all.insert(all.end(), once.begin(), once.end());
  return constants.put(all);
}

Rows MixerContext::transposed(SmallId small, int64_t rows, int64_t cols,
                              const std::function<void(const Rows&)>& then) const {
  const Rows made = constants.take(cols, rows);
  preparations.push_back([=, &device = device, &checkpoint = checkpoint] {
    device.fill(made,
                [&](float* to) { transpose(checkpoint.small_values(small), rows, cols, to); });
    if (then) then(made);
  });
  return made;
}

Conv1d::Conv1d(SmallId weight, const std::optional<SmallId>& bias, const MixerContext& context)
    : bias_(context.values(bias)) {
  const std::vector<int64_t>& shape = context.checkpoint.spec.smalls[weight].shape;
  const int64_t channels = shape[0], width = shape[2];
  weight_ = context.transposed(weight, channels, width);
  slot_ = context.slot({.kind = StateSlot::Kind::kConv1d, .channels = channels, .width = width});
}

}  // namespace klens
