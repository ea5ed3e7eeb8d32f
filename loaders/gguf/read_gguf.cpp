#include "loaders/gguf/read_gguf.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "loaders/architectures/architecture.h"
#include "loaders/gguf/convert_tensors.h"
#include "loaders/gguf/gguf_tokenizer.h"
#include "loaders/gguf/mapping.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

// Files that hold something else than one whole model.
void check_kind(const GgufFile& file) {
  const std::string type = file.text("general.type", "model");
  if (type != "model")
    file.unsupported("key general.type is \"" + shown_name(type) + "\"; give a file with a model");
  const int64_t parts = std::max<int64_t>(file.integer("split.count", 0, INT32_MAX, 1), 1);
  if (parts != file.parts())
    file.unsupported("is one of " + std::to_string(parts) +
                     " parts of a model; join them with llama-gguf-split --merge");
}

std::string model_name(const GgufFile& file) {
  const std::string name = file.text("general.name", "");
  if (!name.empty() && utf8::is_valid(name)) return name;
  return std::filesystem::path(file.name()).stem().string();
}

}  // namespace

GgufModel read_gguf(const std::string& path) { return read_gguf(GgufFile::open_model(path)); }

GgufModel read_gguf(const GgufFile& file) {
  check_kind(file);
  GgufMapping map = map_gguf(file);
  GgufModel model;
  model.name = model_name(file);
  model.stop_tokens = gguf_tokenizer(file, model.texts, map.config());
  model.texts.config = map.config().dump(2);
  model.tensors.described = file.name();
  model.tensors.settings = "its header";
  model.tensors.cure = "convert the model again";
  model.tensors.file_bytes = file.file_bytes();
  model.tensors.files = file.mappings();
  std::set<std::string> names;
  for (const TensorRecipe& recipe : map.recipes()) names.insert(recipe.name);
  model.spec = build_spec(Config(model.texts.config, file.name() + " (its keys)"),
                          [&](const std::string& name) { return names.contains(name); });
  convert_tensors(file.name(), map.recipes(), model.spec, model.tensors);
  return model;
}

std::string read_gguf_tokenizer(const std::string& path) {
  ModelTexts texts;
  nlohmann::ordered_json config;
  gguf_tokenizer(GgufFile::open_model(path), texts, config);
  if (!texts.tokenizer_problem.empty())
    throw Error(ErrorKind::kUnsupported, texts.tokenizer_problem);
  return texts.tokenizer;
}

}  // namespace klens
