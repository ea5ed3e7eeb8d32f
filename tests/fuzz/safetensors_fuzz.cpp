// The input is a safetensors file.
#include <cstdlib>

#include "base/error.h"
#include "loaders/safetensors.h"
#include "loaders/tensor_values.h"
#include "tests/fuzz/container_mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = klens::SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    for (const auto& [name, tensor] : file.tensors()) {
      try {
        klens::refuse_non_finite(tensor, name);
        const std::vector<float> values = klens::to_f32(tensor);
        if (static_cast<int64_t>(values.size()) != tensor.elements()) std::abort();
      } catch (const klens::Error&) {
      }
    }
  } catch (const klens::Error&) {
  }
  return 0;
}
