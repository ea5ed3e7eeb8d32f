#pragma once
// Sound small models, ways to damage their files, and what the public API says of the result.
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "klens/klens.h"
#include "loaders/safetensors.h"

namespace klens::testing {

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, std::string_view bytes);

// A safetensors file taken apart; it is put together as its header is, sound or not.
struct Container {
  nlohmann::ordered_json header;
  std::string data;

  static Container parse(std::string_view bytes);
  static Container read(const std::string& path) { return parse(read_bytes(path)); }
  std::string bytes() const { return with_header(header.dump(), data); }
  // The eight size bytes, the header with spaces up to a multiple of 64, the data.
  static std::string with_header(std::string header_text, const std::string& data);
  // The bytes of one tensor, in data.
  char* tensor(const std::string& name);
};

struct TinySizes {
  int64_t d_model = 8, d_inner = 8, blocks = 1, vocab = 8, d_state = 2, d_conv = 2, dt_rank = 1;
  bool tied = true;
  DType dtype = DType::kF32;
};

// A checkpoint of the published Mamba layout with random weights.
void write_tiny_checkpoint(const std::string& folder, const TinySizes& sizes);
// goldens/mamba and, as tokenizer.json, tokenizers/gpt2.json.
void copy_golden(const std::string& folder);
// A model file of every unit in one format, through the C API.
void quantise(const std::string& checkpoint, const std::string& klens_path,
              const std::string& format);

// ---- damage: target is a checkpoint folder or a file --------------------------------------------

using Damage = std::function<void(const std::string& target)>;
using Patch = const char*;  // an RFC 7396 merge patch: null takes a key away

Damage put(const std::string& file, const std::string& contents);  // a whole file of a folder
Damage take_away(const std::string& file);
Damage patch(const std::string& file, Patch json);
inline Damage config(Patch json) { return patch("config.json", json); }
// Of a folder's model.safetensors, or of the target itself:
Damage cut(int64_t bytes);  // to so many; negative: so many off the end
Damage append(const std::string& bytes);
Damage header_size(uint64_t size);
Damage header_text(const std::string& text);
Damage header(Patch json);
Damage meta_json(const char* key, Patch json);  // the JSON in one entry of __metadata__
Damage flip(const std::string& tensor, size_t byte);
Damage poke(const std::string& tensor, std::string_view bytes);  // its first bytes
Damage both(Damage first, Damage second);

// ---- outcomes
// ------------------------------------------------------------------------------------

struct Outcome {
  klens_status status;
  std::string message;
  bool untouched;  // the output was left as it was
};

// And closes it. One that opens without its tokenizer, for ids alone, says why.
Outcome open_model(const std::string& path, bool verify);
Outcome open_tokenizer(const std::string& path);
Outcome inspect_file(const std::string& path, bool verify);
// Opens and, if that works, evaluates a few tokens. What fails may fail anywhere.
Outcome run_model(const std::string& path);

}  // namespace klens::testing
