#include "engine/session.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "loaders/atomic_file.h"
#include "loaders/error.h"
#include "loaders/safetensors.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

constexpr const char* kSessionKey = "klens.session";
constexpr const char* kModelKey = "klens.model";
constexpr const char* kPositionKey = "klens.position";

// What must agree for a state to mean anything: the weights, and how they are run.
std::string identity(const Model& model) {
  return checkpoint_xxh3(model.checkpoint()) +
         (model.options().activations == Activations::kInt8 ? " int8" : " f32");
}

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, int64_t batch)
    : model_(std::move(model)),
      batch_(batch),
      state_(static_cast<size_t>(model_->state_size())),
      logits_(static_cast<size_t>(model_->spec().vocab)) {}

Session::Session(const Session& other)
    : model_(other.model_),
      batch_(other.batch_),
      position_(other.position_),
      state_(other.state_),
      logits_(other.logits_) {}

std::span<const float> Session::logits() const {
  return position_ == 0 ? std::span<const float>() : std::span<const float>(logits_);
}

void Session::reset() {
  std::fill(state_.begin(), state_.end(), 0.0f);
  position_ = 0;
}

void Session::eval(std::span<const int32_t> ids, float* all) {
  model_->check_ids(ids);
  const int64_t count = static_cast<int64_t>(ids.size());
  try {
    model_->run([&](const Executor& executor) {
      for (int64_t t = 0; t < count; t += batch_) {
        const int64_t part = std::min(batch_, count - t);
        eval_batch(ids.subspan(static_cast<size_t>(t), static_cast<size_t>(part)),
                   all == nullptr ? nullptr : all + t * model_->spec().vocab, t + part == count,
                   executor);
      }
    });
    if (!all_finite(logits_))
      throw Error(ErrorKind::kBadFile,
                  model_->checkpoint().path +
                      ": the logits are not finite: its weights are damaged or overflow; "
                      "run klens inspect --verify");
  } catch (...) {
    reset();  // the states of some blocks have advanced, of others not
    throw;
  }
}

void Session::eval_batch(std::span<const int32_t> ids, float* all, bool last,
                         const Executor& executor) {
  const int64_t tokens = static_cast<int64_t>(ids.size()), d_model = model_->spec().d_model;
  const int64_t vocab = model_->spec().vocab;
  const Scratch::Frame frame(scratch_);
  const Pass pass{executor, scratch_, model_->weights()};
  float* x = scratch_.take<float>(tokens * d_model);
  model_->embed(ids, x, pass);
  model_->run_blocks(0, model_->blocks(), x, tokens, state_.data(), pass);
  position_ += tokens;
  if (all != nullptr) {
    model_->head(x, tokens, all, pass);
    std::copy_n(all + (tokens - 1) * vocab, vocab, logits_.data());
  } else if (last) {
    model_->head(x + (tokens - 1) * d_model, 1, logits_.data(), pass);
  }
}

void Session::save(const std::string& path) const {
  const TensorEntry entries[] = {
      {"logits",
       DType::kF32,
       {static_cast<int64_t>(logits_.size())},
       logits_.size() * sizeof(float)},
      {"state", DType::kF32, {static_cast<int64_t>(state_.size())}, state_.size() * sizeof(float)},
  };
  AtomicFile file(path);
  file.write(safetensors_header(entries, {{kSessionKey, "1"},
                                          {kModelKey, identity(*model_)},
                                          {kPositionKey, std::to_string(position_)}}));
  file.write(std::as_bytes(std::span(logits_)));
  file.write(std::as_bytes(std::span(state_)));
  file.commit();
}

void Session::load(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile, path + ": " + what);
  };
  const auto meta = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (meta(kSessionKey) != "1")
    fail("is no saved session of this version of klens; start a new one");
  if (meta(kModelKey) != identity(*model_))
    fail("was saved from another model, or with other --activations, than " +
         model_->checkpoint().path);
  const auto values = [&](const char* name, size_t count) -> std::span<const std::byte> {
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end() || found->second.dtype != DType::kF32 ||
        found->second.bytes.size() != count * sizeof(float))
      fail(std::string("tensor ") + name +
           " is missing or has the wrong size: the file is damaged, save the session again");
    refuse_non_finite(found->second, path + ": tensor " + name);
    return found->second.bytes;
  };
  const auto logits = values("logits", logits_.size()), state = values("state", state_.size());
  const std::string position = meta(kPositionKey);
  if (position.empty() || position.size() > 18 ||
      position.find_first_not_of("0123456789") != std::string::npos)
    fail("has no position: the file is damaged, save the session again");
  std::memcpy(logits_.data(), logits.data(), logits.size());
  std::memcpy(state_.data(), state.data(), state.size());
  position_ = std::stoll(position);
}

}  // namespace klens
