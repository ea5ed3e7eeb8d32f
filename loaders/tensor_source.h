#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "loaders/safetensors.h"
#include "quant/packed_weight.h"

namespace klens {

// The tensors of one checkpoint by the names its config's architecture gives them, whatever files
// and container they come from. Views point into the files' maps and the copies.
struct TensorSource {
  struct Entry {
    TensorView view;
    std::string file;  // for messages
    // Where the file's own type was converted: that one's name, and its bytes.
    std::string stored_type = {};
    size_t stored_bytes = 0;
    bool quantised = false;
  };
  // What the file holds in integers that one of our formats has too: `view` is of `copies`.
  struct Packed {
    const Format* format;
    WeightView view;
  };
  std::string described;  // the file or index, for messages about what is missing
  // What says which tensors there have to be, and what to do where the two do not go together.
  std::string settings = "config.json", cure = "get both files of the same model";
  std::map<std::string, Entry> tensors;
  std::map<std::string, Packed> packed;  // by the unit's name; its tensor's view has no bytes
  size_t file_bytes = 0;

  std::vector<std::shared_ptr<const MappedFile>> files;  // keep the mappings alive
  std::vector<AlignedBuffer> copies;  // what had to be converted or made contiguous
};

// Adds the tensors of one file. Throws Error, also for a name that is there already.
void add_safetensors_file(const std::string& path, TensorSource& tensors);
void add_pytorch_file(const std::string& path, TensorSource& tensors);
// What every such function does for one tensor.
void add_tensor(const std::string& path, const std::string& name, const TensorView& view,
                TensorSource& tensors);

}  // namespace klens
