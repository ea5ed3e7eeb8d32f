#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "loaders/architectures/architecture.h"
#include "loaders/checkpoint.h"
#include "loaders/file_kind.h"
#include "loaders/gguf/gguf_file.h"
#include "loaders/json.h"

namespace klens {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> shard_names(const std::string& index_path) {
  const JsonDocument document = parse_json(read_text(index_path), index_path);
  const nlohmann::json& index = *document;
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

// Where a folder may keep its tensors, in the order of preference.
struct Container {
  const char* file;
  void (*add)(const std::string& path, TensorSource& tensors);
};
constexpr Container kContainers[] = {
    {"model.safetensors", add_safetensors_file},
    {"pytorch_model.bin", add_pytorch_file},
};

// By what the file is; a file that begins as neither is what its name says, and damaged.
void add_tensors(const Container& container, const std::string& path, TensorSource& tensors) {
  switch (kind_of_file(path)) {
    case FileKind::kSafetensors:
      return add_safetensors_file(path, tensors);
    case FileKind::kPytorch:
      return add_pytorch_file(path, tensors);
    case FileKind::kGguf:
      throw Error(ErrorKind::kBadFile, path +
                                           ": is a GGUF model; give its path instead of the "
                                           "folder's");
    default:
      return container.add(path, tensors);
  }
}

TensorSource open_tensors(const std::string& folder) {
  TensorSource tensors;
  for (const Container& container : kContainers) {
    const std::string single = folder + "/" + container.file, index = single + ".index.json";
    if (file_exists(single)) {
      tensors.described = single;
      add_tensors(container, single, tensors);
      return tensors;
    }
    if (!file_exists(index)) continue;
    tensors.described = index;
    for (const std::string& name : shard_names(index)) {
      const std::string path = folder + "/" + name;
      if (!file_exists(path))
        throw Error(ErrorKind::kIo, path + ": is missing, but " + index + " names it; get it");
      add_tensors(container, path, tensors);
    }
    return tensors;
  }
  std::string names;
  for (const Container& container : kContainers)
    names += (names.empty() ? "" : ", ") + std::string(container.file);
  throw Error(ErrorKind::kIo,
              folder + ": holds no weights (" + names + ", or an index of shards); get them");
}

// The chat template: a file of its own, or a key of tokenizer_config.json (a string, or a list of
// named ones of which "default" is meant).
std::string find_chat_template(const std::string& folder, const std::string& tokenizer_config) {
  const std::string file = read_text_if_present(folder + "/chat_template.jinja");
  if (!file.empty() || tokenizer_config.empty()) return file;
  const JsonDocument document = parse_json(tokenizer_config, folder + "/tokenizer_config.json");
  const nlohmann::json& config = *document;
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

// special_tokens_map.json, which older checkpoints have beside tokenizer_config.json or in its
// place.
nlohmann::ordered_json read_special_tokens_map(const std::string& folder) {
  const std::string path = folder + "/special_tokens_map.json";
  const std::string text = read_text_if_present(path);
  if (text.empty()) return nlohmann::ordered_json::object();
  nlohmann::ordered_json map = parse_ordered_json(text, path);
  if (!map.is_object()) throw Error(ErrorKind::kBadFile, path + ": is no object; get it again");
  return map;
}

// Special tokens that tokenizer_config.json lacks are taken from the map.
void add_special_tokens(const nlohmann::ordered_json& map, const std::string& folder,
                        ModelTexts& texts) {
  using nlohmann::ordered_json;
  ordered_json config = ordered_json::object();
  if (!texts.tokenizer_config.empty())
    config = parse_ordered_json(texts.tokenizer_config, folder + "/tokenizer_config.json");
  if (!config.is_object()) return;
  bool lacked = false;
  for (const auto& [key, token] : map.items()) {
    if (config.contains(key) && !config[key].is_null()) continue;
    config[key] = token;
    lacked = true;
  }
  if (lacked) texts.tokenizer_config = config.dump();
}

bool holds_weights(const std::string& folder) {
  return std::any_of(std::begin(kContainers), std::end(kContainers), [&](const Container& c) {
    const std::string single = folder + "/" + c.file;
    return file_exists(single) || file_exists(single + ".index.json");
  });
}

}  // namespace

std::string model_file(const std::string& path) {
  if (!file_exists(path))
    throw Error(ErrorKind::kIo, path + ": no such file or folder; give the path of one");
  std::error_code ec;
  if (!fs::is_directory(path, ec)) {
    if (kind_of_file(path) == FileKind::kPytorch)
      throw Error(ErrorKind::kUnsupported,
                  path +
                      ": is a PyTorch file, which holds weights alone; give the folder that it "
                      "lies in, with its config.json");
    return path;
  }
  if (holds_weights(path) && file_exists(path + "/config.json")) return path;
  std::vector<std::string> models;
  for (fs::directory_iterator entry(path, ec), end; !ec && entry != end; entry.increment(ec)) {
    const std::string file = entry->path().string();
    if (is_later_part(file)) continue;
    if (kind_of_file(file) == FileKind::kGguf || file.ends_with(".klens")) models.push_back(file);
  }
  std::sort(models.begin(), models.end());
  if (models.size() > 1)
    throw Error(ErrorKind::kBadArgument, path + ": holds " + std::to_string(models.size()) +
                                             " models; name one, such as " + models.front());
  return models.empty() ? path : models.front();
}

Checkpoint read_checkpoint_folder(const std::string& folder) {
  Checkpoint checkpoint;
  checkpoint.path = folder;
  checkpoint.name = fs::path(folder).lexically_normal().filename().string();
  if (checkpoint.name.empty())
    checkpoint.name = fs::path(folder).lexically_normal().parent_path().filename().string();
  const std::string config_path = folder + "/config.json";
  if (!file_exists(config_path))
    throw Error(ErrorKind::kIo,
                folder +
                    ": holds no config.json and no model file; give a checkpoint folder, a "
                    ".klens or a GGUF file");
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
  std::optional<TensorSource> opened;
  const auto tensors = [&]() -> TensorSource& {
    if (!opened) opened = open_tensors(folder);
    return *opened;
  };
  checkpoint.spec =
      build_spec(config, [&](const std::string& name) { return tensors().tensors.count(name); });
  const nlohmann::ordered_json special = read_special_tokens_map(folder);
  checkpoint.stop_tokens = find_stop_tokens(texts, config, generation, folder,
                                            special_token(nlohmann::json(special), "eos_token"));
  add_special_tokens(special, folder, texts);
  fill_checkpoint(checkpoint, std::move(tensors()));
  return checkpoint;
}

}  // namespace klens
