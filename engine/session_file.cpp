// Saved sessions: a safetensors file of the sequence's state.
#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <sstream>

#include "base/error.h"
#include "engine/session.h"
#include "loaders/atomic_file.h"
#include "loaders/checksum.h"
#include "loaders/json.h"
#include "loaders/safetensors.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

constexpr const char* kStateVersion = "5";
constexpr const char* kSessionKey = "klens.session";
constexpr const char* kModelKey = "klens.model";
constexpr const char* kDeviceKey = "klens.device";
// "first length" of each cache, by spaces; checkpoints: first the position of each.
constexpr const char* kCachesKey = "klens.caches";
constexpr const char* kCheckpointsKey = "klens.checkpoints";
constexpr const char* kChecksumKey = "klens.xxh3";  // of everything else

const char* kv_name(KvType type) {
  return type == KvType::kF32 ? "f32" : type == KvType::kF16 ? "fp16" : "int8";
}

// What must agree for a state to mean anything: the weights, and how they are run.
std::string identity(const Model& model) {
  return model.identity() + " " + activations_name(model.options().activations) + " " +
         kv_name(model.kv_type());
}

// How states lie in memory: the device that laid them out, its version of that, and the slots.
std::string state_layout(const Model& model) {
  std::string slots;
  for (size_t i = 0; i < model.states().slots(); ++i) {
    const StateSlot& slot = model.states().slot(i);
    for (const int64_t number : {static_cast<int64_t>(slot.kind), slot.channels, slot.width,
                                 slot.heads, slot.groups, slot.states, int64_t{slot.half}})
      slots += std::to_string(number) + " ";
  }
  const auto of = [](const Device& device) {
    return std::string(device.name()) + ", version " + std::to_string(device.state_version());
  };
  const Model::Front* front = model.front();
  return (front == nullptr ? ""
                           : of(*front->device) + ", for the first " +
                                 std::to_string(front->layers) + " layers, then ") +
         of(model.device()) + ", layout " + xxh3_hex(std::as_bytes(std::span(slots)));
}

// The devices of a layout, for messages: "cpu", "opencl for the first 2 layers, then cpu".
std::string devices_of(const std::string& layout) {
  std::string devices;
  std::istringstream parts(layout);
  for (std::string part; std::getline(parts, part, ',');) {
    if (part.starts_with(" version ") || part.starts_with(" layout ")) continue;
    devices += part.starts_with(" then ") ? "," + part : part;
  }
  return brief(devices);
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

// What is written: tensors, and what a device gave of its memory.
struct Saving {
  Tensors tensors;
  std::deque<std::vector<std::byte>> held;

  template <class T>
  void add(const std::string& name, DType type, std::span<const T> values) {
    tensors[name] = {
        .dtype = type, .shape = {static_cast<int64_t>(values.size())}, .bytes = as_bytes(values)};
  }
  void hold(const std::string& name, std::vector<std::byte> bytes) {
    held.push_back(std::move(bytes));
    add(name, DType::kU8, std::span<const std::byte>(held.back()));
  }
};

std::string cache_name(const std::string& prefix, size_t i) {
  return prefix + "cache." + std::to_string(i) + ".";
}

// Returns its span.
std::string add_cache(Saving& to, const std::string& name, const KvCache& cache) {
  KvCache::Saved saved = cache.saved();
  to.hold(name + "k", std::move(saved.k));
  to.hold(name + "v", std::move(saved.v));
  to.hold(name + "k_scale", std::move(saved.k_scale));
  to.hold(name + "v_scale", std::move(saved.v_scale));
  return std::to_string(saved.first) + " " + std::to_string(saved.length) + " ";
}

std::string checkpoint_name(size_t i) { return "checkpoint." + std::to_string(i) + "."; }

// Returns position and spans.
std::string add_checkpoint(Saving& to, const std::string& name, const Session::Checkpoint& point) {
  to.add(name + "logits", DType::kF32, std::span<const float>(point.logits));
  to.hold(name + "state", point.slots.read());
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
    if (meta(kSessionKey) != kStateVersion)
      throw Error(ErrorKind::kUnsupported,
                  path_ + ": is a saved session of version " + brief(meta(kSessionKey)) +
                      ", this version of klens reads " + kStateVersion + "; start a new one");
    if (meta(kChecksumKey) != checksum(file_.tensors(), file_.metadata()))
      damaged("has a wrong checksum");
    if (meta(kModelKey) != klens::identity(model))
      fail("was saved from another model, or with other --activations or --kv, than " +
           model.checkpoint().path);
    if (meta(kDeviceKey) == state_layout(model)) return;
    const std::string saved = devices_of(meta(kDeviceKey)), now = devices_of(state_layout(model));
    if (saved == now) fail("was saved by a klens that keeps states otherwise; start a new session");
    fail("was saved on " + saved + ", not on " + now +
         "; give --backend and --gpu-layers as then, or start a new session");
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

  Slots slots(const std::string& prefix) const {
    const auto from = bytes(prefix + "state", DType::kU8);
    if (static_cast<int64_t>(from.size()) != model_.states().bytes())
      damaged("tensor " + prefix + "state has the wrong size");
    Slots slots = model_.make_slots(Memory::Begin::kAnything);
    slots.write(from.data());
    return slots;
  }

  // length: of the sequence, prefix included.
  void restore(const std::string& name, std::istream& spans, int64_t length, KvCache& cache) const {
    KvCache::Saved saved{};
    if (!(spans >> saved.first >> saved.length)) damaged("lacks the spans of its caches");
    const auto take = [&](const char* part) { return values<std::byte>(name + part, DType::kU8); };
    saved.k = take("k");
    saved.v = take("v");
    saved.k_scale = take("k_scale");
    saved.v_scale = take("v_scale");
    if (saved.length != length || !cache.restore(saved) || !cache.reaches_back_to(length))
      damaged("tensors " + name + "* have the wrong size");
  }

  SequenceState state(int64_t length) const {
    SequenceState state = model_.initial_state();
    state.slots = slots("");
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
      point->slots = slots(name);
      for (size_t i = 0; i < model_.spec().caches.size(); ++i) {
        if (!forgets(model_.spec().caches[i])) continue;
        point->windows.push_back(model_.make_cache(i));
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

// How a state lies in memory only its device knows. One that holds what is no number, which a
// checksum cannot tell, shows it in the logits of whatever token is read next.
void check_state(const Session& session, const std::string& path) {
  if (session.ids().empty()) return;
  Session next(session);
  try {
    next.eval({&session.ids().back(), 1}, nullptr);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kBadFile) throw;
    throw Error(ErrorKind::kBadFile, path +
                                         ": its state holds what is no number: the file is "
                                         "damaged, save the session again");
  }
}

}  // namespace

void Session::save(const std::string& path) const {
  Saving saving;
  saving.add("ids", DType::kI32, std::span<const int32_t>(ids_));
  saving.add("logits", DType::kF32, logits());
  saving.hold("state", state_.slots.read());
  std::string spans, points;
  for (size_t i = 0; i < state_.caches.size(); ++i)
    spans += add_cache(saving, cache_name("", i), state_.caches[i]);
  for (size_t i = 0; i < checkpoints_.size(); ++i)
    points += add_checkpoint(saving, checkpoint_name(i), *checkpoints_[i]);
  Metadata metadata = {{kSessionKey, kStateVersion},
                       {kModelKey, identity(*model_)},
                       {kDeviceKey, state_layout(*model_)},
                       {kCachesKey, spans},
                       {kCheckpointsKey, points}};
  const Tensors& tensors = saving.tensors;
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
  Session loaded(model_, options_);
  loaded.ids_ = reader.ids();
  const std::vector<float> logits = reader.logits("");
  loaded.state_ = reader.state(model_->prefix_rows() + loaded.position());
  check_state(loaded, path);
  checkpoints_ = reader.checkpoints(loaded.position());
  forget_checkpoints();
  state_ = std::move(loaded.state_);
  ids_ = std::move(loaded.ids_);
  drafts_.count = 0;
  has_logits_ = !logits.empty();
  if (has_logits_) std::copy(logits.begin(), logits.end(), logits_.begin());
}

}  // namespace klens
