#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "loaders/safetensors.h"
#include "quant/packed_weight.h"

namespace klens {

// What torch.save wrote of a state_dict, mapped: a zip archive of a pickle and storages, or, before
// PyTorch 1.6, pickles one after another with the storages behind them. Everything is checked when
// the file is opened; a pickle that asks for more than tensors and plain values is refused.
class PytorchFile {
 public:
  // Throws Error naming the file and the tensor.
  static PytorchFile open(const std::string& path);
  // The same on bytes that the caller keeps alive; `name` is for messages.
  static PytorchFile parse(std::span<const std::byte> bytes, const std::string& name);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::shared_ptr<const MappedFile>& mapping() const { return file_; }  // null after parse
  size_t file_bytes() const { return file_bytes_; }
  // Of the tensors that are not row-major in the file. The views of these point here.
  std::vector<AlignedBuffer> take_copies() { return std::move(copies_); }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, TensorView> tensors_;
  std::vector<AlignedBuffer> copies_;
  size_t file_bytes_ = 0;
};

}  // namespace klens
