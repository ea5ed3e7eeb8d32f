#pragma once
// The table of malformed inputs: what is sound at first, how it is damaged, what the error must
// say.
#include <span>
#include <string>
#include <vector>

#include "tests/loaders/damage.h"

namespace klens::testing {

enum class Base {
  kFolder,     // goldens/mamba with a tokenizer, opened as a model and inspected
  kF16Folder,  // a tiny checkpoint in F16
  kBf16Folder,
  kTokenizer,  // the folder of kFolder, opened as a tokenizer
  kKlens,      // goldens/mamba in int4g64 as a .klens file
  kVerified,   // the same, opened with verify; without, it may open, but must not crash
  kSession,    // a session of goldens/mamba saved after three tokens, loaded into one at two tokens
};

struct MalformedRow {
  const char* name;
  Base base;
  Damage damage;
  klens_status status;
  std::vector<const char*> words;  // each must be in the message
};

std::span<const MalformedRow> malformed_configs();
std::span<const MalformedRow> malformed_safetensors();
std::span<const MalformedRow> malformed_klens_files();

}  // namespace klens::testing
