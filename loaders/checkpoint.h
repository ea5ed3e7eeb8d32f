#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "loaders/mapped_file.h"
#include "loaders/model_spec.h"
#include "loaders/stop_tokens.h"
#include "loaders/tensor_source.h"
#include "loaders/tensor_values.h"
#include "quant/packed_weight.h"
#include "quant/plan.h"

namespace klens {

// A unit's weights as they lie in a file.
struct StoredUnit {
  WeightView view;
  const Format* format = nullptr;  // null: the checkpoint's own precision, in a row layout
  std::optional<Choice> choice;    // with a format: what made it; none where a GGUF held it
  size_t bytes = 0;
  // As the file has it: its type's name ("bf16", "q4_1", "int8"), its bytes there (of a type that
  // was converted fewer than `bytes`), and whether something was lost to make it so.
  std::string stored_type;
  size_t stored_bytes = 0;
  bool quantised = false;
};

// The quantizer of a choice that stands for weights which another program made.
inline constexpr const char* kStored = "stored";
// The choice that a unit is already: what made it, or its format as it was stored, or FP16 where it
// is in none of the formats.
Choice choice_as_stored(const StoredUnit& unit);
// Whether the choice leaves its weights bit for bit; and its activations too.
bool has_weights_of(const StoredUnit& unit, const Choice& choice);
bool is_as_stored(const StoredUnit& unit, const Choice& choice);

// The texts that travel with a model, verbatim; "" where the author gave none.
struct ModelTexts {
  std::string config, generation_config, tokenizer, tokenizer_config, chat_template;
  std::string tokenizer_problem;  // why `tokenizer` is "" though the file has one; never written
};

// A model as its files hold it: spec, units and small tensors where they are mapped. Plain data;
// read_checkpoint_folder and read_klens_file make it, and check everything they put in.
struct Checkpoint {
  std::string path, name;  // name: the last part of the path
  ModelSpec spec;
  ModelTexts texts;
  std::vector<StopToken> stop_tokens;             // that end a turn
  std::map<std::string, StoredUnit> units;        // by unit name; one for each of spec's
  std::map<std::string, TensorView> small;        // by tensor name; one for each of spec's
  std::optional<Plan> plan;                       // .klens only
  std::map<std::string, std::string> provenance;  // .klens only: tool, calibration, checkpoint hash
  std::string checksums;  // .klens only: XXH3-64 of its config and its tensors' checksums
  size_t file_bytes = 0, tensor_bytes = 0;  // as the files have them
  // Parts that no text's logits need, "153 tensors of model.visual, 15 of mtp"; "" where there are
  // none.
  std::string left_out;

  std::vector<float> small_values(SmallId id) const {
    return to_f32(small.at(spec.smalls[id].tensor));
  }

  // Keep alive what the views point into.
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<AlignedBuffer> copies;
};

// A folder, a .klens or a GGUF file, by what its first bytes are. Throws Error naming file, tensor
// and cure.
// verify: check the checksums of a .klens file.
Checkpoint open_checkpoint(const std::string& path, bool verify);

// What is opened for a path: the one GGUF or .klens file of a folder without a checkpoint, else the
// path itself. Throws Error for what is not there, and for several models in one folder.
std::string model_file(const std::string& path);
// Whether a file is, or calls itself, a GGUF file.
bool is_gguf(const std::string& path);

// A folder with config.json and model.safetensors or pytorch_model.bin, or an index of either and
// its shards.
Checkpoint read_checkpoint_folder(const std::string& folder);

// Units and small tensors of checkpoint.spec out of `tensors`. Throws Error for what is missing,
// has another shape, is not finite, or is there and read by nothing.
void fill_checkpoint(Checkpoint& checkpoint, TensorSource tensors);

// "int4g64 in 30 of 33 matrices, int8 in 2": the types of units that are quantised; "" where none
// is.
std::string quantised_formats(const Checkpoint& checkpoint);

// XXH3-64 over the names, shapes and bytes of all tensors the spec reads, as 16 hex digits: whether
// two checkpoints are the same model.
std::string checkpoint_xxh3(const Checkpoint& checkpoint);

}  // namespace klens
