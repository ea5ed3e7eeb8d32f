#pragma once
#include <optional>

#include "engine/blocks/mlp.h"

namespace klens {

// Mixture of experts: each token goes through the top_k experts that a router chooses for it.
class Moe : public Mixer {
 public:
  Moe(const MoeSpec& spec, const MixerContext& context);
  Rows run(const Rows& x, Flow& flow, const Pass& pass) const override;

 private:
  struct Choice {
    int64_t expert;
    float weight;
  };
  // The experts of one token, from its router scores [experts].
  std::vector<Choice> choose(std::vector<float> scores) const;
  std::vector<Choice> choose_by_sigmoid(std::vector<float>& scores) const;
  // By expert: the tokens that go there, and with which weight.
  struct Work {
    std::vector<int64_t> tokens;
    std::vector<float> weights;
  };
  struct Routes {
    std::vector<Work> experts;
    Work shared;  // every token; weights only where the shared expert has a gate
  };
  Routes route(const Rows& x, const Pass& pass) const;
  void run_expert(size_t expert, const Work& work, const Rows& x, const Rows& y, Flow& flow,
                  const Pass& pass) const;

  MoeSpec spec_;
  Weight router_;                  // [experts][d_model], and a row for the shared expert's gate
  std::vector<float> correction_;  // [experts] or empty
  std::vector<Mlp> experts_;
  std::optional<Mlp> shared_;
  std::optional<Projection> latent_, unlatent_;
};

}  // namespace klens
