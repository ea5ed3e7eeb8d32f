#include "loaders/tensor_source.h"

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/pytorch/pytorch_file.h"

namespace klens {

void add_tensor(const std::string& path, const std::string& name, const TensorView& view,
                TensorSource& tensors) {
  const auto [known, fresh] = tensors.tensors.emplace(name, TensorSource::Entry{view, path});
  if (!fresh)
    throw Error(ErrorKind::kBadFile, path + ": tensor " + brief(name) + " is also in " +
                                         known->second.file + "; get both files again");
}

void add_safetensors_file(const std::string& path, TensorSource& tensors) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const auto& [name, view] : file.tensors()) add_tensor(path, name, view, tensors);
  tensors.file_bytes += file.file_bytes();
  tensors.files.push_back(file.mapping());
}

void add_pytorch_file(const std::string& path, TensorSource& tensors) {
  PytorchFile file = PytorchFile::open(path);
  for (const auto& [name, view] : file.tensors()) add_tensor(path, name, view, tensors);
  tensors.file_bytes += file.file_bytes();
  tensors.files.push_back(file.mapping());
  for (AlignedBuffer& copy : file.take_copies()) tensors.copies.push_back(std::move(copy));
}

}  // namespace klens
