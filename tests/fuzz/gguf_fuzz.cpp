// The input is a GGUF file.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <random>

#include "base/error.h"
#include "loaders/gguf/read_gguf.h"
#include "loaders/tokenizer/tokenizer.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// Every length in the file says where the next thing begins, so most changes are made in place.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  if (seed % 4 == 0 || size < 16) return LLVMFuzzerMutate(data, size, max_size);
  constexpr uint64_t kValues[] = {0,  1,  2,   3,   4,    7,     8,          9,
                                  10, 12, 16,  30,  31,   32,    33,         64,
                                  96, 99, 255, 256, 4096, 65536, UINT32_MAX, UINT64_MAX};
  constexpr size_t kWidths[] = {1, 2, 4, 8};
  std::minstd_rand random(seed);
  for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
    const uint64_t value = kValues[random() % std::size(kValues)];
    const size_t width = kWidths[random() % std::size(kWidths)];
    // Headers are where things go wrong: half of the edits are in the first part.
    const size_t range = random() % 2 == 0 ? size : std::max<size_t>(16, size / 4);
    const size_t at = random() % (range - width);
    std::memcpy(data + at, &value, width);
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = klens::GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    klens::GgufModel model = klens::read_gguf(file);
    if (!model.texts.tokenizer.empty()) {
      const auto tokenizer = klens::Tokenizer::from_json(model.texts.tokenizer, "fuzz");
      tokenizer.decode(tokenizer.encode("a ab<end> 12\n", true), false);
    }
    klens::Checkpoint checkpoint;
    checkpoint.spec = std::move(model.spec);
    klens::fill_checkpoint(checkpoint, std::move(model.tensors));
    std::vector<float> row;
    for (const auto& [name, unit] : checkpoint.units) {
      row.resize(static_cast<size_t>(unit.view.cols));
      klens::expand_row(unit.view, unit.view.rows - 1, row.data());
    }
  } catch (const klens::Error&) {
  }
  return 0;
}
