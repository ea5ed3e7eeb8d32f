#pragma once
#include <vector>

#include "engine/executor.h"
#include "engine/flow.h"
#include "engine/sequence.h"
#include "kernels/weights.h"
#include "loaders/checkpoint.h"
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

// What a pass computes with: who does the work, where, with which weights, and for which rows.
// `weights` is indexed by UnitId; a student differs from its teacher in one entry.
struct Pass {
  const Executor& executor;
  Scratch& scratch;
  const std::vector<Weight>& weights;
  const Batch& batch;
};

// body(sequence, begin, end) over [0, items) of every sequence of the batch, spread over threads.
// `work` is a rough number of operations per token and item.
template <class Body>
void over_sequences(const Pass& pass, int64_t items, int64_t work, const Body& body) {
  const int64_t count = static_cast<int64_t>(pass.batch.sequences.size());
  if (count == 0) return;
  const int64_t tokens = std::max<int64_t>(pass.batch.rows / count, 1);
  pass.executor.ranges(count * items, tokens * work, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t s = begin / items, stop = std::min(end, (s + 1) * items);
      body(s, begin - s * items, stop - s * items);
      begin = stop;
    }
  });
}

// body(begin, end) over [0, rows) of rows of `width` floats, for what reads and writes each once.
template <class Body>
void over_rows(const Pass& pass, int64_t rows, int64_t width, const Body& body) {
  pass.executor.ranges(rows, width, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kElementwise);
    body(begin, end);
  });
}

// A rectangle of a linear layer's outputs.
struct LinearPart {
  int64_t tile_begin, tile_end;  // of 16 outputs
  int64_t t_begin, t_end;        // tokens
};

// The inputs of one or several linear layers, quantised at most once per group size.
class LinearInput {
 public:
  // x: [tokens][cols], rows `stride` floats apart. What prepare() makes of it lies in the scratch
  // frame that is open when it is called.
  LinearInput(const float* x, int64_t stride, int64_t tokens, int64_t cols)
      : x_(x), stride_(stride), tokens_(tokens), cols_(cols) {}

  // y[t][n] = sum over k of W[n][k] x[t][k] + bias[n]; y: [tokens][w.rows], rows y_stride floats
  // apart; bias may be null. x and y must not overlap.
  void apply(const Weight& w, const float* bias, float* y, int64_t y_stride, const Pass& pass);

  // The same by hand, for callers that go on with each part while it is in their cache: prepare(),
  // and then parts from any thread. y: [tokens of the part][its outputs].
  void prepare(const Weight& w, const Pass& pass);
  void apply_part(const Weight& w, const float* bias, float* y, int64_t y_stride,
                  const LinearPart& part, const Pass& pass) const;

  int64_t tokens() const { return tokens_; }

 private:
  struct Quantised {
    int64_t group;
    int64_t stride;
    int8_t* q;
    float* scale;
    int32_t* sum;
  };
  const Quantised* quantised(int64_t group) const;

  const float* x_;
  int64_t stride_, tokens_, cols_;
  std::vector<Quantised> quantised_;
};

// to[i] += by * from[i].
void add_scaled(float* to, const float* from, float by, int64_t count, const Pass& pass);
// x *= by, [rows][width], rows `stride` apart; nothing for 1.
void scale(float* x, int64_t rows, int64_t width, int64_t stride, float by, const Pass& pass);
// x itself for 1, else its product in scratch.
const float* scaled(const float* x, int64_t count, float by, const Pass& pass);

// Every sequence's part of its state, as fixed_state gives it.
std::vector<float*> fixed_states(const Pass& pass, int64_t offset, int64_t size);

// y = W x + bias, plus a low-rank adapter where the spec has one.
class Projection {
 public:
  Projection(const ProjectionSpec& spec, const Checkpoint& checkpoint);
  void reach(Flow& flow) const;
  int64_t rows() const { return rows_; }
  // Whether it takes its input in 8 bits.
  bool rounds(const Pass& pass) const { return pass.weights[spec_.unit].activation_group != 0; }
  // y: [tokens][rows()], rows y_stride floats apart.
  void apply(LinearInput& x, float* y, int64_t y_stride, const Pass& pass) const;
  // A stage of its own: [tokens][rows()] = by * (W x + bias) of x [tokens][columns].
  const float* stage(const float* x, int64_t tokens, float by, Flow& flow, const Pass& pass) const;

 private:
  ProjectionSpec spec_;
  int64_t rows_, cols_, rank_ = 0;
  std::vector<float> bias_;  // or empty
};

// Projections of one input, their outputs side by side.
class Projections {
 public:
  Projections(const std::vector<ProjectionSpec>& specs, const Checkpoint& checkpoint);
  void reach(Flow& flow) const;
  int64_t rows() const { return rows_; }
  bool rounds(const Pass& pass) const;                           // all of them
  void apply(LinearInput& x, float* y, const Pass& pass) const;  // y: [tokens][rows()]

 private:
  std::vector<Projection> parts_;
  int64_t rows_ = 0;
};

}  // namespace klens
