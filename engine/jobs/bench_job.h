#pragma once
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/jobs/progress.h"
#include "engine/model.h"

namespace klens {

struct BenchOptions {
  int64_t prompt = 512, generate = 128;  // tokens; 0: leave the test out
  int64_t depth = 0;                     // tokens in the session before either
  int64_t repetitions = 5;
  int64_t batch = 1;  // sequences that decode together; tokens of all of them are counted
};

// What klens_bench reports: prefill and decode speed against what the machine gives, measured in
// the same run.
nlohmann::ordered_json bench(const std::shared_ptr<const Model>& model, const BenchOptions& options,
                             Progress& progress);

}  // namespace klens
