#pragma once
#include <optional>

#include "engine/blocks/mlp.h"

namespace klens {

// Mixture of experts: each token goes through the top_k experts that a router chooses for it.
class Moe : public Mixer {
 public:
  Moe(const MoeSpec& spec, const MixerContext& context);
  const float* run(const float* x, Flow& flow, const Pass& pass) const override;

 private:
  struct Choice {
    int64_t expert;
    float weight;
  };
  // The experts of one token, from its router scores [experts], which are changed.
  std::vector<Choice> choose(float* scores) const;
  std::vector<Choice> choose_by_sigmoid(float* scores) const;
  // By expert: the tokens that go there, and with which weight.
  struct Work {
    std::vector<int64_t> tokens;
    std::vector<float> weights;
  };
  std::vector<Work> route(const float* x, const Pass& pass) const;
  void run_expert(size_t expert, const Work& work, const float* x, int64_t width, float* y,
                  Flow& flow, const Pass& pass) const;

  MoeSpec spec_;
  int64_t d_model_;
  std::vector<float> router_;      // [experts][d_model]
  std::vector<float> correction_;  // [experts] or empty
  std::vector<Mlp> experts_;
  std::optional<Mlp> shared_;
  std::optional<Projection> latent_, unlatent_;
};

}  // namespace klens
