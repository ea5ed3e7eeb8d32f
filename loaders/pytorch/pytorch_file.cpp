#include "loaders/pytorch/pytorch_file.h"

#include <optional>

#include "base/error.h"
#include "loaders/byte_reader.h"
#include "loaders/pytorch/messages.h"
#include "loaders/pytorch/strided_tensor.h"
#include "loaders/pytorch/unpickler.h"
#include "loaders/pytorch/zip_archive.h"

namespace klens {
namespace {

using namespace pytorch;
using Kind = Object::Kind;
using Storages = std::map<std::string_view, std::span<const std::byte>>;  // by key

// Beyond the size of the file, what tensors that are not row-major may take.
constexpr size_t kMoreCopies = size_t{16} << 20;

// As damaged(): with_cure adds the rest.
[[noreturn]] void unsupported(const std::string& what) {
  throw Error(ErrorKind::kUnsupported, what);
}

Error with_cure(const std::string& where, const Error& reason) {
  const bool bad = reason.kind() == ErrorKind::kBadFile;
  return {reason.kind(), where + reason.what() + (bad ? kGetAgain : kSaveAgain)};
}

// How a pickle names a storage.
struct StorageName {
  std::string_view key;
  DType dtype;
  bool untyped;
  int64_t count;  // of elements

  // The count must be of a size in memory.
  uint64_t bytes() const {
    uint64_t bytes = 0;
    if (count < 0 ||
        __builtin_mul_overflow(static_cast<uint64_t>(count), uint64_t{dtype_bytes(dtype)}, &bytes))
      damaged("has a storage of " + std::to_string(count) + " elements");
    return bytes;
  }
};

StorageName read_storage_name(const Objects& objects, const Object& storage) {
  const std::vector<ObjectId>& items = objects[storage.items[0]].items;
  const auto is = [&](size_t i, Kind kind) { return objects[items[i]].kind == kind; };
  // "storage", type, key, device, count; before 1.6 also what it is a view of.
  if (items.size() < 5 || items.size() > 6 || !is(0, Kind::kText) || !is(1, Kind::kGlobal) ||
      !is(2, Kind::kText) || !is(3, Kind::kText) || !is(4, Kind::kInteger) ||
      objects[items[0]].text != "storage")
    damaged("has a storage that is not described as PyTorch does");
  if (items.size() == 6 && !is(5, Kind::kNone))
    unsupported("has a storage that is part of another");
  constexpr size_t kLongestKey = 255;  // PyTorch numbers them
  if (objects[items[2]].text.size() > kLongestKey) damaged("has a storage whose key is no number");
  const GlobalRow& type = *objects[items[1]].global;
  if (type.global != Global::kStorage && type.global != Global::kUntypedStorage)
    damaged("has a storage of " + std::string(type.module) + "." + type.name);
  return {objects[items[2]].text, type.dtype, type.global == Global::kUntypedStorage,
          objects[items[4]].integer};
}

std::vector<int64_t> integers(const Objects& objects, ObjectId id, const char* what) {
  const Object& tuple = objects[id];
  std::vector<int64_t> values;
  // No more than can be right are looked at.
  if (tuple.kind != Kind::kTuple || tuple.items.size() > 64)
    damaged(std::string("has no tuple of ") + what);
  for (const ObjectId item : tuple.items) {
    if (objects[item].kind != Kind::kInteger) damaged(std::string("has no integers as ") + what);
    values.push_back(objects[item].integer);
  }
  return values;
}

// The arguments of _rebuild_tensor_v2: storage, offset, sizes, strides, requires_grad, hooks, and
// of _rebuild_tensor_v3 also the dtype; metadata follows where a tensor is a negative or a
// conjugate of what is stored.
StridedTensor read_tensor(const Objects& objects, const Object& tensor, const Storages& storages) {
  const std::vector<ObjectId>& items = objects[tensor.items[0]].items;
  const bool typed = tensor.global->global == Global::kRebuildTensorV3;
  const size_t plain = typed ? 7 : 6;
  if (items.size() < plain || items.size() > plain + 1 ||
      objects[items[0]].kind != Kind::kStorage || objects[items[1]].kind != Kind::kInteger)
    damaged("is not described as PyTorch does");
  if (items.size() > plain) {
    const Object& metadata = objects[items[plain]];
    if (metadata.kind != Kind::kNone && (metadata.kind != Kind::kDict || !metadata.items.empty()))
      unsupported("is a conjugate or negative view");
  }
  const StorageName storage = read_storage_name(objects, objects[items[0]]);
  StridedTensor result{.dtype = storage.dtype,
                       .storage = {},
                       .offset = objects[items[1]].integer,
                       .sizes = integers(objects, items[2], "sizes"),
                       .strides = integers(objects, items[3], "strides")};
  if (typed) {
    const Object& dtype = objects[items[6]];
    if (dtype.kind != Kind::kGlobal || dtype.global->global != Global::kDType || !storage.untyped)
      damaged("is not described as PyTorch does");
    result.dtype = dtype.global->dtype;
  }
  const auto found = storages.find(storage.key);
  if (found == storages.end()) damaged("has no storage " + shown(storage.key) + " in the file");
  if (found->second.size() != storage.bytes())
    damaged("has a storage of " + std::to_string(storage.bytes()) + " bytes, but the file holds " +
            std::to_string(found->second.size()) + " of it");
  result.storage = found->second;
  return result;
}

// What a text is for in a dictionary; null if it is not there.
const Object* find(const Objects& objects, const Object& dict, std::string_view key) {
  const Object* found = nullptr;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (objects[dict.items[i]].kind == Kind::kText && objects[dict.items[i]].text == key)
      found = &objects[dict.items[i + 1]];
  return found;
}

// The dictionary of tensors: what was saved, or its state_dict, as training programs save it.
const Object& state_dict(const Unpickled& pickle, const std::string& name) {
  const Object& root = pickle.objects[pickle.root];
  const Object* dict = &root;
  if (root.kind == Kind::kDict) {
    const Object* inner = find(pickle.objects, root, "state_dict");
    if (inner != nullptr && inner->kind == Kind::kDict) dict = inner;
  }
  bool any = false;
  for (size_t i = 1; dict->kind == Kind::kDict && i < dict->items.size(); i += 2)
    any = any || pickle.objects[dict->items[i]].kind == Kind::kTensor;
  if (!any)
    throw Error(ErrorKind::kUnsupported, name + ": is no dictionary of tensors" + kSaveAgain);
  return *dict;
}

// Entries that are no tensors (counters, None) are no weights either.
std::map<std::string, TensorView> read_tensors(const Unpickled& pickle, const Storages& storages,
                                               Contiguous& contiguous, const std::string& name) {
  const Objects& objects = pickle.objects;
  const Object& dict = state_dict(pickle, name);
  std::map<std::string, TensorView> tensors;
  for (size_t i = 0; i < dict.items.size(); i += 2) {
    const Object &key = objects[dict.items[i]], &value = objects[dict.items[i + 1]];
    if (value.kind != Kind::kTensor) continue;
    if (key.kind != Kind::kText)
      throw Error(ErrorKind::kUnsupported, name + ": a tensor's name is no text" + kSaveAgain);
    const auto [place, is_new] = tensors.try_emplace(std::string(key.text));
    const std::string where = name + ": tensor " + shown(key.text) + " ";
    if (!is_new) throw Error(ErrorKind::kBadFile, where + "stands there twice" + kGetAgain);
    try {
      place->second = contiguous(read_tensor(objects, value, storages));
    } catch (const Error& error) {
      throw with_cure(where, error);
    }
  }
  return tensors;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- since PyTorch 1.6: a zip archive of NAME/data.pkl, NAME/data/KEY and a few small entries
// ----

// NAME, with the slash.
std::string find_prefix(const ZipArchive& archive, const std::string& name) {
  constexpr std::string_view kPickle = "data.pkl";
  std::optional<std::string> prefix;
  for (const auto& [entry, bytes] : archive.entries()) {
    const size_t slash = entry.find('/');
    if (slash == entry.npos || entry.substr(slash + 1) != kPickle) continue;
    if (prefix)
      throw Error(ErrorKind::kBadFile, name + ": the archive holds two data.pkl" + kGetAgain);
    prefix = entry.substr(0, slash + 1);
  }
  if (!prefix)
    throw Error(ErrorKind::kBadFile, name +
                                         ": is a zip archive without data.pkl, no PyTorch "
                                         "checkpoint; give one that is");
  return *prefix;
}

// The byte order, and the version of the format, up to the one that PyTorch itself reads.
void check_conventions(const ZipArchive& archive, const std::string& prefix,
                       const std::string& name) {
  const auto entry = [&](const char* last) -> std::optional<std::string_view> {
    const auto found = archive.entries().find(prefix + last);
    if (found == archive.entries().end()) return std::nullopt;
    return text_of(found->second);
  };
  if (const auto order = entry("byteorder"); order && *order != "little")
    throw Error(ErrorKind::kUnsupported, name + ": its byte order is " + shown(*order) +
                                             ", klens reads little" + kSaveAgain);
  const auto version = entry("version");
  if (!version) return;
  const std::string_view number = version->substr(0, version->find('\n'));
  if (number != "10" && (number.size() != 1 || number[0] < '1' || number[0] > '9'))
    throw Error(ErrorKind::kUnsupported, name + ": is of version " + shown(number) +
                                             " of the format, klens reads 1 to 10" + kSaveAgain);
}

std::map<std::string, TensorView> read_archive(std::span<const std::byte> bytes,
                                               Contiguous& contiguous, const std::string& name) {
  const ZipArchive archive = ZipArchive::parse(bytes, name);
  const std::string prefix = find_prefix(archive, name);
  check_conventions(archive, prefix, name);
  const std::string data = prefix + "data/";
  Storages storages;
  for (const auto& [entry, contents] : archive.entries())
    if (entry.compare(0, data.size(), data) == 0)
      storages[std::string_view(entry).substr(data.size())] = contents;
  const std::span<const std::byte> data_pkl = archive.entries().find(prefix + "data.pkl")->second;
  const Unpickled pickle = unpickle(data_pkl, name);
  if (pickle.bytes != data_pkl.size())
    throw Error(ErrorKind::kBadFile, name + ": its pickle ends before data.pkl does" + kGetAgain);
  return read_tensors(pickle, storages, contiguous, name);
}

// ---- before: pickles of a magic number, a version, the machine, the object and the keys of its
// storages, then each storage with its count of elements before it --------------------------------

// The storages that a pickle names, by key.
std::map<std::string_view, StorageName> named_storages(const Objects& objects) {
  std::map<std::string_view, StorageName> names;
  for (const Object& object : objects) {
    if (object.kind != Kind::kStorage) continue;
    const StorageName storage = read_storage_name(objects, object);
    names.emplace(storage.key, storage);
  }
  return names;
}

// Throws with the reason alone; the caller adds the file.
Storages read_legacy_storages(const Objects& objects, const Unpickled& keys,
                              std::span<const std::byte> data) {
  const auto names = named_storages(objects);
  Storages storages;
  ByteReader reader(data);
  const Object& list = keys.objects[keys.root];
  if (list.kind != Kind::kList) damaged("lacks the list of its storages");
  for (const ObjectId id : list.items) {
    const Object& key = keys.objects[id];
    const auto name = key.kind == Kind::kText ? names.find(key.text) : names.end();
    int64_t count = 0;
    std::string_view contents;
    if (name == names.end()) damaged("holds a storage that no tensor has");
    if (!reader.read(count) || count != name->second.count ||
        !reader.take(name->second.bytes(), contents))
      damaged("lacks storage " + shown(key.text) + " or a part of it");
    // By the text in the object's pickle: it lives as long as the bytes.
    if (!storages.emplace(name->first, std::as_bytes(std::span(contents))).second)
      damaged("holds storage " + shown(key.text) + " twice");
  }
  if (reader.left() != 0) damaged("holds more than its storages");
  return storages;
}

std::map<std::string, TensorView> read_legacy(std::span<const std::byte> bytes,
                                              Contiguous& contiguous, const std::string& name) {
  constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  const auto next = [&]() {
    Unpickled pickle = unpickle(bytes, name);
    bytes = bytes.subspan(pickle.bytes);
    return pickle;
  };
  const auto root = [](const Unpickled& pickle) -> const Object& {
    return pickle.objects[pickle.root];
  };
  if (const Unpickled magic = next();
      root(magic).kind != Kind::kLongInteger || root(magic).text != kMagic)
    throw Error(ErrorKind::kBadFile,
                name + ": is a pickle, but no PyTorch checkpoint; give one that is");
  if (const Unpickled version = next();
      root(version).kind != Kind::kInteger || root(version).integer != 1001)
    throw Error(ErrorKind::kUnsupported,
                name + ": is of an unknown version of PyTorch's old format" + kSaveAgain);
  const Unpickled machine = next();
  const Object* little = find(machine.objects, root(machine), "little_endian");
  if (little == nullptr || little->kind != Kind::kBool || little->integer != 1)
    throw Error(ErrorKind::kUnsupported,
                name + ": does not say that its byte order is little" + kSaveAgain);
  const Unpickled pickle = next(), keys = next();
  Storages storages;
  try {
    storages = read_legacy_storages(pickle.objects, keys, bytes);
  } catch (const Error& error) {
    throw with_cure(name + ": the file ", error);
  }
  return read_tensors(pickle, storages, contiguous, name);
}

}  // namespace

PytorchFile PytorchFile::open(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  PytorchFile parsed = parse(file->bytes(), path);
  parsed.file_ = std::move(file);
  return parsed;
}

PytorchFile PytorchFile::parse(std::span<const std::byte> bytes, const std::string& name) {
  Contiguous contiguous(bytes.size() + kMoreCopies);
  PytorchFile result;
  const std::string_view begin = text_of(bytes).substr(0, 2);
  if (begin == "PK")
    result.tensors_ = read_archive(bytes, contiguous, name);
  else if (begin.substr(0, 1) == "\x80")
    result.tensors_ = read_legacy(bytes, contiguous, name);
  else
    throw Error(ErrorKind::kBadFile, name +
                                         ": is no PyTorch checkpoint; get the file again, or "
                                         "give one that is");
  result.copies_ = contiguous.take_copies();
  result.file_bytes_ = bytes.size();
  return result;
}

}  // namespace klens
