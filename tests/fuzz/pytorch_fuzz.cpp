// The input is a pytorch_model.bin, or the pickle in one.
#include <cstdlib>

#include "base/error.h"
#include "loaders/pytorch/pytorch_file.h"
#include "loaders/tensor_values.h"
#include "tests/stored_zip.h"

namespace {

void read(const std::string& bytes) {
  try {
    const auto file = klens::PytorchFile::parse(std::as_bytes(std::span(bytes)), "fuzz");
    size_t values = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      if (tensor.bytes.size() !=
          static_cast<size_t>(tensor.elements()) * klens::dtype_bytes(tensor.dtype))
        std::abort();
      // Many views of one storage cost nothing until they are read.
      values += tensor.bytes.size();
      if (values > (size_t{64} << 20)) return;
      try {
        klens::refuse_non_finite(tensor, name);
        klens::to_f32(tensor);
      } catch (const klens::Error&) {
      }
    }
  } catch (const klens::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  read(input);
  if (input.substr(0, 1) == "\x80") read(klens::testing::pytorch_archive(input));
  return 0;
}
