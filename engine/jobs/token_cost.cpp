#include "engine/jobs/token_cost.h"

namespace klens {
namespace {

class Tally {
 public:
  explicit Tally(const Model& model) : model_(model), uses_(model.spec().matrices.size()) {}
  const TokenCost& cost() const { return cost_; }
  const std::vector<double>& uses() const { return uses_; }  // by matrix

  void add(const BlockSpec& block) {
    if (block.shared) {
      add(block.shared->attention);
      add(block.shared->mlp);
      add(block.shared->linear);
    }
    std::visit([&](const auto& mixer) { add(mixer); }, block.mixer);
  }

  void add_head(MatrixId id) {
    uses_[id] += 1;
    cost_.weight_bytes += bytes(id);
    cost_.head_multiply_adds += weights(id);
  }

  void add_small(const SmallSpec& small) {
    cost_.weight_bytes += static_cast<double>(small.elements()) * sizeof(float);
  }

 private:
  void add(const Mamba1Spec& s) {
    add(s.in_proj);
    add(s.scan);
    add(s.out_proj);
  }
  void add(const Mamba2Spec& s) {
    add(s.in_proj);
    add(s.out_proj);
  }
  void add(const DeltaNetSpec& s) {
    for (const ProjectionSpec& p : s.in) add(p);
    add(s.out_proj);
  }
  void add(const ShortConvSpec& s) {
    add(s.in_proj);
    add(s.out_proj);
  }
  void add(const AttentionSpec& s) {
    for (const ProjectionSpec& p : s.qkv) add(p);
    add(s.o_proj);
  }
  void add(const MlpSpec& s) {
    for (const ProjectionSpec& p : s.in) add(p);
    add(s.down);
  }
  void add(const MoeSpec& s) {
    share_ = static_cast<double>(s.top_k) / static_cast<double>(s.experts.size());
    for (const MlpSpec& expert : s.experts) add(expert);
    share_ = 1;
    if (s.shared) add(*s.shared);
    if (s.latent) add(*s.latent);
    if (s.unlatent) add(*s.unlatent);
  }
  void add(const ParallelSpec& s) {
    add(s.mamba);
    add(s.attention);
  }
  void add(const HymbaSpec& s) {
    add(s.in_proj);
    add(s.scan);
    add(s.out_proj);
  }
  void add(const SelectiveScanSpec& s) {
    for (const MatrixId id : s.x_proj) add_matrix(id);
    for (const MatrixId id : s.dt_proj) add_matrix(id);
  }
  void add(const ProjectionSpec& p) {
    add_matrix(p.matrix);
    if (!p.adapter) return;
    add_matrix(p.adapter->down);
    add_matrix(p.adapter->up);
  }
  void add_matrix(MatrixId id) {
    uses_[id] += share_;
    cost_.weight_bytes += share_ * bytes(id);
    cost_.multiply_adds += share_ * weights(id);
  }
  double bytes(MatrixId id) const {
    const MatrixSpec& matrix = model_.spec().matrices[id];
    double bytes = 0;
    for (UnitId u = matrix.first_unit; u < matrix.first_unit + matrix.units; ++u)
      bytes += static_cast<double>(model_.checkpoint().units.at(model_.units()[u].name).bytes);
    return bytes;
  }
  double weights(MatrixId id) const {
    const MatrixSpec& matrix = model_.spec().matrices[id];
    return static_cast<double>(matrix.rows * matrix.cols);
  }

  const Model& model_;
  TokenCost cost_;
  std::vector<double> uses_;
  double share_ = 1;  // of the tokens that go through what is being added
};

Tally tally_of(const Model& model) {
  const ModelSpec& spec = model.spec();
  Tally tally(model);
  for (const BlockSpec& block : spec.blocks) tally.add(block);
  tally.add_head(spec.head);
  for (SmallId id = 0; id < spec.smalls.size(); ++id)
    if (id != spec.prefix) tally.add_small(spec.smalls[id]);
  return tally;
}

}  // namespace

TokenCost token_cost(const Model& model) { return tally_of(model).cost(); }

std::vector<double> uses_of_units(const Model& model) {
  const Tally tally = tally_of(model);
  std::vector<double> uses;
  for (const LinearSpec& unit : model.units()) uses.push_back(tally.uses()[unit.matrix]);
  return uses;
}

}  // namespace klens
