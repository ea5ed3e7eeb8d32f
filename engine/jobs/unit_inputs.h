#pragma once
#include <memory>

#include "engine/jobs/calibration.h"
#include "engine/jobs/kept_bytes.h"
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

  // Of products that are summed in one pass over the windows.
  static constexpr int64_t kProductBytes = int64_t{1} << 30;

  // Runs the model over the windows for what a quantizer of this kind looks at; where the sums are
  // more than product_bytes, several times. Deterministic, whatever the threads. What `kept`,
  // which may be null, has is not found anew, and it gets what is found.
  UnitInputs(const Model& model, const Windows& windows, Quantizer::Sees sees, Progress& progress,
             int64_t product_bytes = kProductBytes, std::shared_ptr<KeptBytes> kept = nullptr);

  // As far as a quantizer of this kind looks.
  InputStats of(size_t unit, Quantizer::Sees sees) const;
  // As a choice's quantizer, which is known, looks.
  InputStats of(size_t unit, const Choice& choice) const;

  // Where what is made with them is kept; or null.
  KeptBytes* kept() const { return kept_.get(); }

 private:
  struct Seen;
  std::shared_ptr<Seen> seen_;
  std::shared_ptr<KeptBytes> kept_;
};

// Columns of the different inputs that the units of a model multiply, found by one pass.
std::vector<int64_t> columns_of_inputs(const Model& model, std::span<const int32_t> ids);

}  // namespace klens
