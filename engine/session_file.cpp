// Saved sessions: a safetensors file of the sequence's state.
#include <cmath>
#include <cstring>
#include <sstream>

#include "engine/session.h"
#include "loaders/atomic_file.h"
#include "loaders/error.h"
#include "loaders/safetensors.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

constexpr const char* kVersion = "3";
constexpr const char* kSessionKey = "klens.session";
constexpr const char* kModelKey = "klens.model";
constexpr const char* kCachesKey = "klens.caches";  // "first length" of each, by spaces

const char* kv_name(cpu::KvType type) {
  return type == cpu::KvType::kF32 ? "f32" : type == cpu::KvType::kF16 ? "fp16" : "int8";
}

// What must agree for a state to mean anything: the weights, and how they are run.
std::string identity(const Model& model) {
  return checkpoint_xxh3(model.checkpoint()) +
         (model.options().activations == Activations::kInt8 ? " int8 " : " f32 ") +
         kv_name(model.kv_type());
}

// The tensors of a session in their order: name, type, bytes.
struct Part {
  TensorEntry entry;
  std::span<const std::byte> bytes;
};

Part part(const std::string& name, DType type, size_t element, std::span<const std::byte> bytes) {
  return {{name, type, {static_cast<int64_t>(bytes.size() / element)}, bytes.size()}, bytes};
}

std::vector<Part> parts(std::span<const int32_t> ids, std::span<const float> logits,
                        const SequenceState& state) {
  std::vector<Part> all = {part("ids", DType::kI32, 4, std::as_bytes(ids)),
                           part("logits", DType::kF32, 4, std::as_bytes(logits)),
                           part("fixed", DType::kF32, 4, std::as_bytes(std::span(state.fixed)))};
  for (size_t i = 0; i < state.caches.size(); ++i) {
    const KvCache::Saved saved = state.caches[i].saved();
    const std::string name = "cache." + std::to_string(i) + ".";
    all.push_back(part(name + "k", DType::kU8, 1, saved.k));
    all.push_back(part(name + "v", DType::kU8, 1, saved.v));
    all.push_back(part(name + "k_scale", DType::kF32, 4, std::as_bytes(saved.k_scale)));
    all.push_back(part(name + "v_scale", DType::kF32, 4, std::as_bytes(saved.v_scale)));
  }
  return all;
}

// Reads a saved session's tensors; what does not fit is an Error.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(SafetensorsFile::open(path)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, path_ + ": " + what);
  }
  [[noreturn]] void damaged(const std::string& what) const {
    fail(what + ": the file is damaged, save the session again");
  }
  std::string meta(const char* key) const {
    const auto found = file_.metadata().find(key);
    return found == file_.metadata().end() ? "" : found->second;
  }
  std::span<const std::byte> bytes(const std::string& name, DType type) const {
    const auto found = file_.tensors().find(name);
    if (found == file_.tensors().end() || found->second.dtype != type)
      damaged("tensor " + name + " is missing or of another type");
    if (type == DType::kF32) refuse_non_finite(found->second, path_ + ": tensor " + name);
    return found->second.bytes;
  }
  template <class T>
  std::vector<T> values(const std::string& name, DType type) const {
    const auto from = bytes(name, type);
    std::vector<T> values(from.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), from.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  std::string path_;
  SafetensorsFile file_;
};

void restore_caches(const Reader& reader, SequenceState& state, int64_t length) {
  std::istringstream spans(reader.meta(kCachesKey));
  for (size_t i = 0; i < state.caches.size(); ++i) {
    const std::string name = "cache." + std::to_string(i) + ".";
    KvCache::Saved saved{};
    if (!(spans >> saved.first >> saved.length)) reader.damaged("lacks the spans of its caches");
    const auto k_scale = reader.values<float>(name + "k_scale", DType::kF32);
    const auto v_scale = reader.values<float>(name + "v_scale", DType::kF32);
    saved.k = reader.bytes(name + "k", DType::kU8);
    saved.v = reader.bytes(name + "v", DType::kU8);
    saved.k_scale = k_scale;
    saved.v_scale = v_scale;
    if (saved.length != length || !state.caches[i].restore(saved) ||
        !state.caches[i].reaches_back_to(length))
      reader.damaged("cache " + std::to_string(i) + " has the wrong size");
  }
}

}  // namespace

void Session::save(const std::string& path) const {
  std::string spans;
  for (const KvCache& cache : state_.caches)
    spans += std::to_string(cache.saved().first) + " " + std::to_string(cache.saved().length) + " ";
  const std::vector<Part> all = parts(ids_, logits(), state_);
  std::vector<TensorEntry> entries;
  for (const Part& p : all) entries.push_back(p.entry);
  AtomicFile file(path);
  file.write(safetensors_header(
      entries, {{kSessionKey, kVersion}, {kModelKey, identity(*model_)}, {kCachesKey, spans}}));
  for (const Part& p : all) file.write(p.bytes);
  file.commit();
}

void Session::load(const std::string& path) {
  const Reader reader(path);
  if (reader.meta(kSessionKey) != kVersion)
    reader.fail("is no saved session of this version of klens; start a new one");
  if (reader.meta(kModelKey) != identity(*model_))
    reader.fail("was saved from another model, or with other --activations or --kv, than " +
                model_->checkpoint().path);
  std::vector<int32_t> ids = reader.values<int32_t>("ids", DType::kI32);
  for (const int32_t id : ids)
    if (id < 0 || id >= model_->spec().vocab) reader.damaged("holds tokens outside the vocabulary");
  std::vector<float> logits = reader.values<float>("logits", DType::kF32);
  SequenceState state = model_->initial_state();
  std::vector<float> fixed = reader.values<float>("fixed", DType::kF32);
  if (fixed.size() != state.fixed.size() || (!logits.empty() && logits.size() != logits_.size()))
    reader.damaged("a tensor has the wrong size");
  state.fixed = std::move(fixed);
  restore_caches(reader, state, model_->prefix_rows() + static_cast<int64_t>(ids.size()));
  state_ = std::move(state);
  ids_ = std::move(ids);
  checkpoints_.clear();
  has_logits_ = !logits.empty();
  if (has_logits_) logits_ = std::move(logits);
}

}  // namespace klens
