#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/jobs/unit_inputs.h"
#include "engine/model.h"
#include "quant/profiler.h"

namespace klens {

// A unit as a choice says.
struct PackedUnit {
  PackedWeight weight;
  int activation_bits = Choice().activation_bits;
};
// Units packed in memory, by index in the model's order; null: as the checkpoint has it.
using PackedUnits = std::vector<std::unique_ptr<PackedUnit>>;

// Quantises stored weights as `choice` says. Throws Error for a part of it that is unknown, and
// kInterrupted inside parallel work that has been called off.
PackedWeight quantise_unit(const StoredUnit& unit, const Choice& choice,
                           const InputStats& inputs = {});

// The same of a unit of a model, with what it is multiplied by, and found rather than made where
// it was kept.
PackedWeight quantise_unit(const Model& model, size_t unit, const Choice& choice,
                           const UnitInputs& inputs);

// All units of a model in the formats of a plan. Throws Error for a unit that the plan lacks.
PackedUnits pack_plan(const Model& model, const Plan& plan, const UnitInputs& inputs,
                      Progress& progress);

// Units of one block, the first that it uses first, and what they become together.
using BlockStudent = std::vector<std::pair<size_t, Weight>>;

// Work of the pass of a student that has this unit, in weights multiplied per token: what progress
// is measured in.
double suffix_cost(const Model& model, size_t unit);

// The engine's side of profiling: suffix replay. A window's teacher pass keeps the input of every
// block and what lies between its units; a student starts at its unit with what was kept, since all
// before it is equal, and runs the engine's own kernels to the logits, which are reduced at once.
// The base is what surrounds the student's unit: the teacher itself, or a packed plan (then what is
// kept is the plan's). Scores are against the teacher, or against the base, whose noise then is on
// both sides.
class StudentRunner : public ProfileSubject {
 public:
  enum class Judge { kTeacher, kBase };
  // base: empty, or one entry per unit. Both it and inputs outlive this.
  StudentRunner(const Model& teacher, const PackedUnits* base, const UnitInputs& inputs,
                Judge judge = Judge::kTeacher);

  WindowScore begin_window(std::span<const int32_t> ids) override;
  std::vector<WindowScore> run(std::span<const Student> students, const OnDone& on_done) override;

  double cost(const Student& student) const { return suffix_cost(model_, student.unit); }

  // Bytes of packed units that are kept from one window to the next, at most; 1 GiB if not said.
  void keep_packed(int64_t bytes) { most_packed_ = static_cast<size_t>(bytes); }

  // Of a student that does not run again: makes room for others' units.
  void let_go(const Student& student);

  // What is kept of the window that was begun, in bytes.
  int64_t kept_bytes() const;

  // How many of a window's largest KLs scores have, at most (WindowScore::largest).
  void keep_largest(size_t count) { largest_ = count; }

  // Mean squared difference of what the students' blocks add to the residual stream, without its
  // scale, over the window's own tokens: each runs its block alone, whose input is the base's.
  std::vector<double> block_errors(std::span<const BlockStudent> students) const;

  // A whole pass over the window that was begun, with these weights, judged by the teacher. From
  // several threads at once, each with its lane.
  WindowScore run_whole(const std::vector<Weight>& weights, Lane& lane) const;

 private:
  int64_t rows() const;  // of a whole pass: the model's prefix and the window's tokens
  // One pass over the window that keeps all between units; its output, before the final norm.
  Rows keep(const std::vector<Weight>& weights, Lane& lane);
  SequenceState student_state(int64_t first) const;
  // x: [rows()][d_model], of which the window's tokens count.
  WindowScore score(const Rows& x, const std::vector<Weight>& weights, Lane& lane) const;
  double block_error(const BlockStudent& student, Lane& lane) const;
  // What a pass that begins at a unit leaves, [rows()][d_model] in the lane's open frame;
  // one_block: after the unit's block alone.
  Rows resume(size_t unit, const std::vector<Weight>& weights, bool one_block, Lane& lane) const;
  WindowScore run_one(const Student& student, Lane& lane);
  // The student's unit as it is to be; what was made for an earlier window, where it was kept.
  std::shared_ptr<const PackedWeight> packed(const Student& student);

  const Model& model_;
  const UnitInputs& inputs_;
  std::vector<Weight> base_weights_;
  bool base_judges_;
  size_t largest_ = 0;
  std::vector<int32_t> ids_;
  // Of the base: what a pass keeps, and its caches, from which blocks read that share those of an
  // earlier one.
  KeptPass kept_;
  SequenceState state_;
  Memory teacher_memory_;
  Rows teacher_;      // [tokens][vocab] logits, of what judges
  std::mutex mutex_;  // of what follows
  std::map<std::pair<size_t, Choice>, std::shared_ptr<const PackedWeight>> packed_;
  size_t packed_bytes_ = 0, most_packed_ = size_t{1} << 30;
};

}  // namespace klens
