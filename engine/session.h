#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"

namespace klens {

// One sequence being generated: the state of every block in one buffer, the position, and the
// logits after the last token. Copying it is forking the sequence.
class Session {
 public:
  Session(std::shared_ptr<const Model> model, int64_t batch);
  Session(const Session& other);
  Session& operator=(const Session&) = delete;

  const Model& model() const { return *model_; }
  int64_t position() const { return position_; }
  size_t bytes() const { return (state_.size() + logits_.size()) * sizeof(float); }
  std::span<const float> logits() const;  // [vocab], empty at position 0
  void reset();

  // Feeds tokens; only the logits after the last are computed, or, with `all` [ids][vocab], those
  // after each. Throws Error: before anything is changed for ids out of range, after a reset for
  // logits that are not finite.
  void eval(std::span<const int32_t> ids, float* all);

  void save(const std::string& path) const;
  // Throws Error and leaves the session as it was unless the file is a session of the same model.
  void load(const std::string& path);

 private:
  void eval_batch(std::span<const int32_t> ids, float* all, bool last, const Executor& executor);

  std::shared_ptr<const Model> model_;
  int64_t batch_;
  int64_t position_ = 0;
  std::vector<float> state_;   // [state_size()]
  std::vector<float> logits_;  // [vocab]
  Scratch scratch_;
};

}  // namespace klens
