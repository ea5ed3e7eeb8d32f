#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "kernels/half.h"
#include "loaders/architectures/architecture.h"
#include "loaders/checkpoint.h"
#include "loaders/error.h"
#include "loaders/json.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

namespace fs = std::filesystem;

// The tensors of one checkpoint, whatever number of files they are spread over.
struct TensorIndex {
  struct Entry {
    const TensorView* view;
    std::string file;
  };
  std::map<std::string, Entry> entries;
  std::string described;  // the file or index, for messages
};

std::vector<std::string> shard_names(const std::string& index_path) {
  const nlohmann::json index = parse_json(read_text(index_path), index_path);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object())
    throw Error(ErrorKind::kBadFile,
                index_path + ": lacks the object weight_map; get the file again");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos)
      throw Error(ErrorKind::kBadFile,
                  index_path + ": weight_map of " + brief(tensor) +
                      " is not the name of a file beside it; get the file again");
    names.insert(name);
  }
  return {names.begin(), names.end()};
}

TensorIndex open_tensors(const std::string& folder, Checkpoint& checkpoint) {
  const std::string single = folder + "/model.safetensors", index = single + ".index.json";
  std::vector<std::string> paths;
  TensorIndex tensors;
  if (file_exists(single)) {
    paths.push_back(single);
    tensors.described = single;
  } else if (file_exists(index)) {
    for (const std::string& name : shard_names(index)) paths.push_back(folder + "/" + name);
    for (const std::string& path : paths)
      if (!file_exists(path))
        throw Error(ErrorKind::kIo, path + ": is missing, but " + index + " names it; get it");
    tensors.described = index;
  } else {
    throw Error(ErrorKind::kIo,
                folder + ": holds neither model.safetensors nor model.safetensors.index.json; " +
                    (file_exists(folder + "/pytorch_model.bin")
                         ? "save pytorch_model.bin as safetensors first"
                         : "get one of them"));
  }
  // Views point into the files' maps, so the vector must not move them later.
  checkpoint.files.reserve(paths.size());
  for (const std::string& path : paths) {
    checkpoint.files.push_back(SafetensorsFile::open(path));
    checkpoint.file_bytes += checkpoint.files.back().file_bytes();
    for (const auto& [name, view] : checkpoint.files.back().tensors())
      if (!tensors.entries.emplace(name, TensorIndex::Entry{&view, path}).second)
        throw Error(ErrorKind::kBadFile, path + ": tensor " + brief(name) +
                                             " is also in another shard; get the files again");
  }
  return tensors;
}

const TensorIndex::Entry& find(const TensorIndex& tensors, const std::string& name,
                               const std::vector<int64_t>& shape) {
  const auto found = tensors.entries.find(name);
  if (found == tensors.entries.end())
    throw Error(ErrorKind::kBadFile, tensors.described + ": tensor " + name +
                                         " is missing; config.json asks for it with shape " +
                                         shape_text(shape) + ": get the files again");
  const TensorIndex::Entry& entry = found->second;
  if (entry.view->shape != shape)
    throw Error(ErrorKind::kBadFile, entry.file + ": tensor " + name + " has shape " +
                                         shape_text(entry.view->shape) + ", config.json asks for " +
                                         shape_text(shape) + ": get both files of the same model");
  return entry;
}

StoredUnit read_unit(const LinearSpec& unit, const TensorIndex& tensors, Checkpoint& checkpoint) {
  const TensorIndex::Entry& entry = find(tensors, unit.tensor, {unit.rows, unit.cols});
  const std::string where = entry.file + ": tensor " + unit.tensor;
  const Layout layout = row_layout(entry.view->dtype, where);
  refuse_non_finite(*entry.view, where);
  const std::byte* data = entry.view->bytes.data();
  if (reinterpret_cast<uintptr_t>(data) % alignof(float) != 0) {
    AlignedBuffer copy(entry.view->bytes.size());
    std::memcpy(copy.data(), data, copy.size());
    data = copy.data();
    checkpoint.copies.push_back(std::move(copy));
  }
  return {.view = {.layout = layout, .rows = unit.rows, .cols = unit.cols, .data = data},
          .format = nullptr,
          .quantizer = "",
          .bytes = entry.view->bytes.size()};
}

// The chat template: a file of its own, or a key of tokenizer_config.json (a string, or a list of
// named ones of which "default" is meant).
std::string find_chat_template(const std::string& folder, const std::string& tokenizer_config) {
  const std::string file = read_text_if_present(folder + "/chat_template.jinja");
  if (!file.empty() || tokenizer_config.empty()) return file;
  const nlohmann::json config = parse_json(tokenizer_config, folder + "/tokenizer_config.json");
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (!config.is_object() || found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return "";
  for (const nlohmann::json& entry : *found)
    if (entry.is_object() && entry.value("name", nlohmann::json()) == "default" &&
        entry.contains("template") && entry["template"].is_string())
      return entry["template"].get<std::string>();
  return "";
}

}  // namespace

Checkpoint read_checkpoint_folder(const std::string& folder) {
  Checkpoint checkpoint;
  checkpoint.path = folder;
  checkpoint.name = fs::path(folder).lexically_normal().filename().string();
  if (checkpoint.name.empty())
    checkpoint.name = fs::path(folder).lexically_normal().parent_path().filename().string();
  const std::string config_path = folder + "/config.json";
  if (!file_exists(config_path))
    throw Error(ErrorKind::kIo,
                folder + ": holds no config.json; give a checkpoint folder or a .klens file");
  ModelTexts& texts = checkpoint.texts;
  texts.config = read_text(config_path);
  texts.generation_config = read_text_if_present(folder + "/generation_config.json");
  texts.tokenizer = read_text_if_present(folder + "/tokenizer.json");
  texts.tokenizer_config = read_text_if_present(folder + "/tokenizer_config.json");
  texts.chat_template = find_chat_template(folder, texts.tokenizer_config);

  const Config config(texts.config, config_path);
  const Config generation(texts.generation_config.empty() ? "{}" : texts.generation_config,
                          folder + "/generation_config.json");
  // The config is judged before any weight is touched.
  std::optional<TensorIndex> opened;
  const auto has = [&](const std::string& name) {
    if (!opened) opened = open_tensors(folder, checkpoint);
    return opened->entries.count(name) != 0;
  };
  checkpoint.spec = build_spec(config, generation, has);
  if (!opened) opened = open_tensors(folder, checkpoint);

  checkpoint.spec.each_unit([&](const LinearSpec& unit) {
    const StoredUnit stored = read_unit(unit, *opened, checkpoint);
    checkpoint.tensor_bytes += stored.bytes;
    checkpoint.units[unit.name] = stored;
  });
  checkpoint.spec.each_small([&](const SmallSpec& small) {
    const TensorIndex::Entry& entry = find(*opened, small.tensor, small.shape);
    checkpoint.tensor_bytes += entry.view->bytes.size();
    checkpoint.small[small.tensor] = to_f32(*entry.view, entry.file + ": tensor " + small.tensor);
  });
  return checkpoint;
}

}  // namespace klens
