#pragma once
#include <vector>

#include "engine/blocks/flow.h"
#include "engine/device/constants.h"
#include "engine/pass.h"
#include "loaders/checkpoint.h"

namespace klens {

struct MixerContext;

// x itself for 1, else its product in scratch.
Rows scaled(const Rows& x, float by, const Pass& pass);

// y = W x + bias, plus a low-rank adapter where the spec has one.
class Projection {
 public:
  Projection(const ProjectionSpec& spec, const MixerContext& context);
  void reach(Flow& flow) const;
  int64_t rows() const { return matrix_.rows; }
  // Whether it takes its input in 8 bits or in BF16.
  bool rounds(const Pass& pass) const;
  // y: [tokens][rows()].
  void apply(LinearInput& x, const Rows& y, const Pass& pass) const;
  // A stage of its own: [tokens][rows()] = by * (W x + bias).
  Rows stage(const Rows& x, float by, Flow& flow, const Pass& pass) const;

 private:
  ProjectionSpec spec_;
  MatrixSpec matrix_, down_, up_;  // the latter of an adapter
  Rows bias_;
};

// Projections of one input, their outputs side by side.
class Projections {
 public:
  Projections(const std::vector<ProjectionSpec>& specs, const MixerContext& context);
  void reach(Flow& flow) const;
  int64_t rows() const { return rows_; }
  bool rounds(const Pass& pass) const;                                // all of them
  void apply(LinearInput& x, const Rows& y, const Pass& pass) const;  // y: [tokens][rows()]

 private:
  std::vector<Projection> parts_;
  int64_t rows_ = 0;
};

}  // namespace klens
