#pragma once
#include <string>

#include "loaders/checkpoint.h"
#include "loaders/gguf/gguf_file.h"
#include "loaders/tensor_source.h"

namespace klens {

// A GGUF file told as the Hugging Face checkpoint it was made from: a config.json, tokenizer files
// and tensors by their names there, the converter's changes undone. So one architecture file serves
// both, and nothing above loaders/ knows GGUF.
struct GgufModel {
  ModelTexts texts;
  std::string name;                    // general.name, else the file's name without .gguf
  std::vector<StopToken> stop_tokens;  // of its keys, without their texts
  ModelSpec spec;
  TensorSource tensors;  // views of the map where the values lie as they are, else of copies
};

// Of a model in several files, `path` is the first of them.
// Throws Error naming the file, the key or tensor, and the cure. What changes the arithmetic and is
// not understood is refused by name.
GgufModel read_gguf(const std::string& path);
// The same of a file that is open or parsed. Of a parsed one, views point into its bytes.
GgufModel read_gguf(const GgufFile& file);

// Its tokenizer.json alone, "" if it has none: nothing is read of the tensors.
std::string read_gguf_tokenizer(const std::string& path);

}  // namespace klens
