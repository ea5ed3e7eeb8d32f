#pragma once
#include <memory>

#include "engine/jobs/calibration.h"
#include "engine/jobs/progress.h"
#include "engine/model.h"
#include "quant/choice.h"

namespace klens {

// What the units of a model were multiplied by over calibration windows. Of a unit that multiplied
// nothing (an embedding, an expert that no token chose) nothing is known. Safe from several
// threads.
class UnitInputs {
 public:
  UnitInputs() = default;  // of no unit anything

  // Runs the model over the windows for what a quantizer of this kind looks at. Deterministic,
  // whatever the threads.
  UnitInputs(const Model& model, const Windows& windows, Quantizer::Sees sees, Progress& progress);

  // As far as a quantizer of this kind looks.
  InputStats of(size_t unit, Quantizer::Sees sees) const;
  // As a choice's quantizer, which is known, looks.
  InputStats of(size_t unit, const Choice& choice) const;

 private:
  struct Seen;
  std::shared_ptr<Seen> seen_;
};

}  // namespace klens
