#include "engine/blocks/block.h"

#include "engine/blocks/hymba.h"
#include "engine/blocks/mamba1.h"
#include "engine/blocks/mamba2.h"
#include "engine/blocks/moe.h"

namespace klens {
namespace {

// Falcon-H1: Mamba-2 and attention on the same input, added.
class Parallel : public Mixer {
 public:
  Parallel(const ParallelSpec& spec, const MixerContext& context)
      : d_model_(context.checkpoint.spec.d_model),
        mamba_(spec.mamba, context),
        attention_(spec.attention, context) {}

  const float* run(const float* x, Flow& flow, const Pass& pass) const override {
    const float *a = nullptr, *b = nullptr;
    flow.independent([&] { a = mamba_.run(x, flow, pass); });
    flow.independent([&] { b = attention_.run(x, flow, pass); });
    flow.join();
    float* y = flow.take(pass.batch.rows * d_model_);
    if (!flow.due()) return y;
    over_rows(pass, pass.batch.rows, d_model_, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * d_model_; i < end * d_model_; ++i) y[i] = a[i] + b[i];
    });
    return y;
  }

 private:
  int64_t d_model_;
  Mamba2 mamba_;
  Attention attention_;
};

std::unique_ptr<Mixer> make(const Mamba1Spec& s, const MixerContext& c) {
  return std::make_unique<Mamba1>(s, c);
}
std::unique_ptr<Mixer> make(const Mamba2Spec& s, const MixerContext& c) {
  return std::make_unique<Mamba2>(s, c);
}
std::unique_ptr<Mixer> make(const AttentionSpec& s, const MixerContext& c) {
  return std::make_unique<Attention>(s, c);
}
std::unique_ptr<Mixer> make(const MlpSpec& s, const MixerContext& c) {
  return std::make_unique<Mlp>(s, c);
}
std::unique_ptr<Mixer> make(const MoeSpec& s, const MixerContext& c) {
  return std::make_unique<Moe>(s, c);
}
std::unique_ptr<Mixer> make(const ParallelSpec& s, const MixerContext& c) {
  return std::make_unique<Parallel>(s, c);
}
std::unique_ptr<Mixer> make(const HymbaSpec& s, const MixerContext& c) {
  return std::make_unique<Hymba>(s, c);
}

}  // namespace

std::unique_ptr<Mixer> make_mixer(const BlockSpec& block, const MixerContext& context) {
  return std::visit([&](const auto& spec) { return make(spec, context); }, block.mixer);
}

Block::Block(const BlockSpec& spec, const MixerContext& context)
    : d_model_(context.checkpoint.spec.d_model),
      residual_scale_(spec.residual_scale),
      norm_(spec.norm, d_model_, context.checkpoint) {
  if (spec.shared) shared_.emplace(*spec.shared, context);
  mixer_ = make_mixer(spec, context);
}

void Block::run(float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, size = rows * d_model_;
  const Scratch::Frame frame(pass.scratch);
  const float* shared = shared_ ? shared_->run(x, flow, pass) : nullptr;
  float* normed = flow.take(size);
  if (flow.due()) {
    const float* in = x;
    if (shared != nullptr) {
      over_rows(pass, rows, d_model_, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin * d_model_; i < end * d_model_; ++i) normed[i] = x[i] + shared[i];
      });
      in = normed;
    }
    norm_.run(in, d_model_, normed, d_model_, rows, pass);
  }
  const float* delta = mixer_->run(normed, flow, pass);
  add_scaled(x, delta, residual_scale_, size, pass);
}

}  // namespace klens
