#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace klens {

// A weight matrix W [rows outputs][cols inputs] whose format is chosen on its own: a unit.
struct LinearSpec {
  std::string name;    // the unit's name, in profiles, plans and model files
  std::string tensor;  // where a checkpoint holds it
  std::string kind;    // in_proj, x_proj, ..., embedding, head
  int64_t rows = 0, cols = 0;
  int64_t block = 0;  // index of its block; -1: embedding; number of blocks: head
};

// A tensor that is never quantised: norms, convolution, A_log, D, biases.
struct SmallSpec {
  std::string tensor;
  std::vector<int64_t> shape;

  int64_t elements() const {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    return count;
  }
};

// Mamba-1 (arXiv 2312.00752): in_proj, causal conv1d, x_proj, dt_proj, selective scan, gate,
// out_proj.
struct Mamba1Spec {
  int64_t d_inner = 0, d_state = 0, d_conv = 0, dt_rank = 0;
  std::optional<float> bcdt_norm_eps;  // FalconMamba: weightless RMS norms of dt, B and C
  LinearSpec in_proj;                  // [2 d_inner][d_model]: x rows, then z rows
  LinearSpec x_proj;                   // [dt_rank + 2 d_state][d_inner]: dt, B, C
  LinearSpec dt_proj;                  // [d_inner][dt_rank]
  LinearSpec out_proj;                 // [d_model][d_inner]
  SmallSpec conv_weight;               // [d_inner][1][d_conv]
  std::optional<SmallSpec> conv_bias, in_bias, out_bias;
  SmallSpec dt_bias;  // [d_inner]
  SmallSpec a_log;    // [d_inner][d_state]
  SmallSpec d;        // [d_inner]

  template <class Visit>
  void each_unit(Visit visit) const {
    for (const LinearSpec* unit : {&in_proj, &x_proj, &dt_proj, &out_proj}) visit(*unit);
  }
  template <class Visit>
  void each_small(Visit visit) const {
    for (const SmallSpec* small : {&conv_weight, &dt_bias, &a_log, &d}) visit(*small);
    for (const auto* small : {&conv_bias, &in_bias, &out_bias})
      if (*small) visit(**small);
  }
};

// One residual step: x += mixer(norm(x)).
struct BlockSpec {
  SmallSpec norm;  // [d_model]
  float norm_eps = 0;
  std::variant<Mamba1Spec> mixer;
};

// Everything the engine knows about an architecture. Files under architectures/ fill it in; nothing
// else branches on a model's name.
struct ModelSpec {
  std::string architecture;
  int64_t vocab = 0, d_model = 0;
  std::optional<LinearSpec> embedding;  // absent: tied, the head's matrix is the embedding too
  LinearSpec head;                      // [vocab][d_model]
  std::vector<BlockSpec> blocks;
  SmallSpec final_norm;
  float final_norm_eps = 0;
  std::optional<int32_t> bos;
  std::vector<int32_t> eos;

  // The one list of the model's units, in the order of execution.
  template <class Visit>
  void each_unit(Visit visit) const {
    if (embedding) visit(*embedding);
    for (const BlockSpec& block : blocks)
      std::visit([&](const auto& mixer) { mixer.each_unit(visit); }, block.mixer);
    visit(head);
  }
  // The one list of the tensors that stay as they are.
  template <class Visit>
  void each_small(Visit visit) const {
    for (const BlockSpec& block : blocks) {
      visit(block.norm);
      std::visit([&](const auto& mixer) { mixer.each_small(visit); }, block.mixer);
    }
    visit(final_norm);
  }
  int64_t parameters() const {
    int64_t count = 0;
    each_unit([&](const LinearSpec& unit) { count += unit.rows * unit.cols; });
    each_small([&](const SmallSpec& small) { count += small.elements(); });
    return count;
  }
};

}  // namespace klens
