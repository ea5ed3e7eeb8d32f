// Saved sessions: a safetensors file of the sequence's state.
#include <algorithm>
#include <cstring>
#include <map>
#include <sstream>

#include "engine/session.h"
#include "loaders/atomic_file.h"
#include "loaders/checksum.h"
#include "loaders/error.h"
#include "loaders/json.h"
#include "loaders/safetensors.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

constexpr const char* kVersion = "4";
constexpr const char* kSessionKey = "klens.session";
constexpr const char* kModelKey = "klens.model";
// "first length" of each cache, by spaces; checkpoints: first the position of each.
constexpr const char* kCachesKey = "klens.caches";
constexpr const char* kCheckpointsKey = "klens.checkpoints";
constexpr const char* kChecksumKey = "klens.xxh3";  // of everything else

const char* kv_name(cpu::KvType type) {
  return type == cpu::KvType::kF32 ? "f32" : type == cpu::KvType::kF16 ? "fp16" : "int8";
}

// What must agree for a state to mean anything: the weights, and how they are run.
std::string identity(const Model& model) {
  return model.identity() +
         (model.options().activations == Activations::kInt8 ? " int8 " : " f32 ") +
         kv_name(model.kv_type());
}

// The tensors of a session, by name.
using Tensors = std::map<std::string, TensorView>;
using Metadata = std::map<std::string, std::string>;

// Over names, types and bytes of all tensors and over the metadata but for itself.
std::string checksum(const Tensors& tensors, const Metadata& metadata) {
  std::string text;
  for (const auto& [key, value] : metadata)
    if (key != kChecksumKey) text += key + "=" + value + "\n";
  for (const auto& [name, view] : tensors)
    text += name + " " + dtype_name(view.dtype) + " " + xxh3_hex(view.bytes) + "\n";
  return xxh3_hex(std::as_bytes(std::span(text)));
}

template <class T>
void add(Tensors& to, const std::string& name, DType type, std::span<const T> values) {
  to[name] = {
      .dtype = type, .shape = {static_cast<int64_t>(values.size())}, .bytes = as_bytes(values)};
}

std::string cache_name(const std::string& prefix, size_t i) {
  return prefix + "cache." + std::to_string(i) + ".";
}

// Returns its span.
std::string add_cache(Tensors& to, const std::string& name, const KvCache& cache) {
  const KvCache::Saved saved = cache.saved();
  add(to, name + "k", DType::kU8, saved.k);
  add(to, name + "v", DType::kU8, saved.v);
  add(to, name + "k_scale", DType::kF32, saved.k_scale);
  add(to, name + "v_scale", DType::kF32, saved.v_scale);
  return std::to_string(saved.first) + " " + std::to_string(saved.length) + " ";
}

std::string checkpoint_name(size_t i) { return "checkpoint." + std::to_string(i) + "."; }

// Returns position and spans.
std::string add_checkpoint(Tensors& to, const std::string& name, const Session::Checkpoint& point) {
  add(to, name + "logits", DType::kF32, std::span(point.logits));
  add(to, name + "fixed", DType::kF32, std::span(point.fixed));
  std::string numbers = std::to_string(point.position) + " ";
  for (size_t i = 0; i < point.windows.size(); ++i)
    numbers += add_cache(to, cache_name(name, i), point.windows[i]);
  return numbers;
}

// Reads a saved session's tensors; what does not fit is an Error.
class Reader {
 public:
  Reader(const std::string& path, const Model& model)
      : path_(path), model_(model), file_(SafetensorsFile::open(path)) {
    if (file_.metadata().count(kSessionKey) == 0)
      fail("is no saved session; name a file that /save or klens_session_save wrote");
    if (meta(kSessionKey) != kVersion)
      throw Error(ErrorKind::kUnsupported,
                  path_ + ": is a saved session of version " + brief(meta(kSessionKey)) +
                      ", this version of klens reads " + kVersion + "; start a new one");
    if (meta(kChecksumKey) != checksum(file_.tensors(), file_.metadata()))
      damaged("has a wrong checksum");
    if (meta(kModelKey) != klens::identity(model))
      fail("was saved from another model, or with other --activations or --kv, than " +
           model.checkpoint().path);
  }

  std::vector<int32_t> ids() const {
    std::vector<int32_t> ids = values<int32_t>("ids", DType::kI32);
    for (const int32_t id : ids)
      if (id < 0 || id >= model_.spec().vocab) damaged("holds tokens outside the vocabulary");
    return ids;
  }

  std::vector<float> logits(const std::string& prefix) const {
    std::vector<float> logits = values<float>(prefix + "logits", DType::kF32);
    if (!logits.empty() && static_cast<int64_t>(logits.size()) != model_.spec().vocab)
      damaged("tensor " + prefix + "logits has the wrong size");
    return logits;
  }

  // Into a fresh state's memory.
  void read_fixed(const std::string& prefix, std::vector<float>& fixed) const {
    const std::vector<float> values = this->values<float>(prefix + "fixed", DType::kF32);
    if (values.size() != fixed.size()) damaged("tensor " + prefix + "fixed has the wrong size");
    std::copy(values.begin(), values.end(), fixed.begin());
  }

  // length: of the sequence, prefix included.
  void restore(const std::string& name, std::istream& spans, int64_t length, KvCache& cache) const {
    KvCache::Saved saved{};
    if (!(spans >> saved.first >> saved.length)) damaged("lacks the spans of its caches");
    const auto k_scale = values<float>(name + "k_scale", DType::kF32);
    const auto v_scale = values<float>(name + "v_scale", DType::kF32);
    saved.k = bytes(name + "k", DType::kU8);
    saved.v = bytes(name + "v", DType::kU8);
    saved.k_scale = k_scale;
    saved.v_scale = v_scale;
    if (saved.length != length || !cache.restore(saved) || !cache.reaches_back_to(length))
      damaged("tensors " + name + "* have the wrong size");
  }

  SequenceState state(int64_t length) const {
    SequenceState state = model_.initial_state();
    read_fixed("", state.fixed);
    std::istringstream spans(meta(kCachesKey));
    for (size_t i = 0; i < state.caches.size(); ++i)
      restore(cache_name("", i), spans, length, state.caches[i]);
    return state;
  }

  // Of a sequence of `count` tokens.
  Session::Checkpoints checkpoints(int64_t count) const {
    Session::Checkpoints all;
    std::istringstream numbers(meta(kCheckpointsKey));
    for (int64_t position = 0; numbers >> position;) {
      const std::string name = checkpoint_name(all.size());
      const int64_t before = all.empty() ? -1 : all.back()->position;
      if (position <= before || position > count) damaged("has a checkpoint out of its order");
      auto point = std::make_shared<Session::Checkpoint>();
      point->position = position;
      point->logits = logits(name);
      point->fixed.resize(model_.fixed_state_floats());
      read_fixed(name, point->fixed);
      for (const KvCacheSpec& spec : model_.spec().caches) {
        if (!forgets(spec)) continue;
        point->windows.emplace_back(spec, model_.kv_type());
        restore(cache_name(name, point->windows.size() - 1), numbers,
                model_.prefix_rows() + position, point->windows.back());
      }
      all.push_back(std::move(point));
    }
    return all;
  }

 private:
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

  std::string path_;
  const Model& model_;
  SafetensorsFile file_;
};

}  // namespace

void Session::save(const std::string& path) const {
  Tensors tensors;
  add(tensors, "ids", DType::kI32, std::span<const int32_t>(ids_));
  add(tensors, "logits", DType::kF32, logits());
  add(tensors, "fixed", DType::kF32, std::span<const float>(state_.fixed));
  std::string spans, points;
  for (size_t i = 0; i < state_.caches.size(); ++i)
    spans += add_cache(tensors, cache_name("", i), state_.caches[i]);
  for (size_t i = 0; i < checkpoints_.size(); ++i)
    points += add_checkpoint(tensors, checkpoint_name(i), *checkpoints_[i]);
  Metadata metadata = {{kSessionKey, kVersion},
                       {kModelKey, identity(*model_)},
                       {kCachesKey, spans},
                       {kCheckpointsKey, points}};
  metadata[kChecksumKey] = checksum(tensors, metadata);
  std::vector<TensorEntry> entries;
  for (const auto& [name, view] : tensors)
    entries.push_back({name, view.dtype, view.shape, view.bytes.size()});
  AtomicFile file(path);
  file.write(safetensors_header(entries, metadata));
  for (const auto& [name, view] : tensors) file.write(view.bytes);
  file.commit();
}

void Session::load(const std::string& path) {
  const Reader reader(path, *model_);
  std::vector<int32_t> ids = reader.ids();
  std::vector<float> logits = reader.logits("");
  const int64_t count = static_cast<int64_t>(ids.size());
  SequenceState state = reader.state(model_->prefix_rows() + count);
  Checkpoints checkpoints = reader.checkpoints(count);
  state_ = std::move(state);
  ids_ = std::move(ids);
  checkpoints_ = std::move(checkpoints);
  forget_checkpoints();
  has_logits_ = !logits.empty();
  if (has_logits_) logits_ = std::move(logits);
}

}  // namespace klens
