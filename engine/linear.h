#pragma once
#include <vector>

#include "engine/executor.h"
#include "engine/scratch.h"
#include "kernels/weights.h"
#include "quant/format.h"

namespace klens {

// How integer units take their activations.
enum class Activations { kInt8, kF32 };

// A unit as a pass uses it.
struct Weight {
  WeightView view;
  int64_t activation_group =
      0;  // columns per activation scale on the integer path; 0: FP32 activations

  Weight() = default;
  // format: null for the checkpoint's own precision.
  Weight(const WeightView& weight, const Format* format, Activations activations)
      : view(weight),
        activation_group(
            format == nullptr || activations == Activations::kF32 ? 0 : format->activation_group) {}
};

// What a pass computes with: who does the work, where, and with which weights. `weights` is indexed
// by unit, in the order of ModelSpec::each_unit; a student differs from its teacher in one entry.
struct Pass {
  const Executor& executor;
  Scratch& scratch;
  const std::vector<Weight>& weights;
};

// The inputs of one or several linear layers, quantised at most once per group size.
class LinearInput {
 public:
  // x: [tokens][cols], rows `stride` floats apart.
  LinearInput(const float* x, int64_t stride, int64_t tokens, int64_t cols)
      : x_(x), stride_(stride), tokens_(tokens), cols_(cols) {}

  // y[t][n] = sum over k of W[n][k] x[t][k] + bias[n]; y: [tokens][w.rows], rows y_stride floats
  // apart; bias may be null. x and y must not overlap.
  void apply(const Weight& w, const float* bias, float* y, int64_t y_stride, const Pass& pass);

 private:
  struct Quantised {
    int64_t group;
    int64_t stride;
    int8_t* q;
    float* scale;
    int32_t* sum;
  };
  const Quantised& quantised(int64_t group, const Pass& pass);

  const float* x_;
  int64_t stride_, tokens_, cols_;
  std::vector<Quantised> quantised_;
};

}  // namespace klens
