#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loaders/checkpoint.h"

namespace klens {

// A unit as inspect and quantize report it.
struct UnitReport {
  std::string name, kind;
  std::optional<int64_t> layer;  // as the checkpoint counts them
  int64_t block = 0, rows = 0, cols = 0;
  Choice choice;  // a checkpoint's own precision has no quantizer
  size_t bytes = 0;
  std::optional<double> kl;  // nats per token, where it was measured
};
UnitReport unit_report(const LinearSpec& unit, Choice choice, size_t bytes);

// What a file or folder holds.
struct InspectReport {
  std::string path, name, architecture;
  int64_t parameters = 0;
  size_t bytes = 0, file_bytes = 0;  // of the tensors; of all
  double bpw = 0;                    // over the weights of all units
  int64_t vocab = 0, d_model = 0;
  std::optional<int64_t> context_length;  // tokens that attention was trained on at once
  int64_t layers = 0;                     // as the checkpoint counts them
  size_t blocks = 0;                      // residual steps, of which a layer may have several
  bool tied_head = false, tokenizer = false, chat_template = false;
  std::string left_out;           // as Checkpoint has it
  std::string tokenizer_problem;  // why it cannot be used
  std::vector<StopToken> stop_tokens;
  std::vector<MissingStop> missing_stops;
  // Tensors by the type that the file stores them in: "bf16", a GGUF's "q4_1", a .klens's "int8".
  std::map<std::string, int64_t> stored_types;
  std::vector<UnitReport> units;
  std::optional<Plan> plan;  // .klens only
  std::map<std::string, std::string> provenance;
  bool verified = false;  // the checksums, where there are some
};

// verify: also the checksum of every tensor. Throws Error for a damaged file.
InspectReport inspect(const std::string& path, bool verify);

}  // namespace klens
