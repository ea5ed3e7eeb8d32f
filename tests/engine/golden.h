#pragma once
// Goldens: tiny models of every architecture, with the reference implementation's outputs.
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/session.h"
#include "tests/testing.h"

namespace klens::testing {

struct Golden {
  std::shared_ptr<const Model> model;
  std::vector<int32_t> input_ids, greedy_ids;
  std::vector<float> logits;
};

inline Golden load_golden(const std::string& name, const ModelOptions& options = {.threads = 2}) {
  const std::string folder = data_path("goldens/" + name);
  const SafetensorsFile reference = SafetensorsFile::open(folder + "/reference.safetensors");
  return {std::make_shared<const Model>(open_checkpoint(folder, true), options),
          tensor_values<int32_t>(reference, "input_ids"),
          tensor_values<int32_t>(reference, "greedy_ids"),
          tensor_values<float>(reference, "logits")};
}

// The FP32 contract: every logit within 2e-4 (1 + |logit|).
inline void check_close(const std::vector<float>& got, const float* want, size_t first) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::fabs(double{got[i]} - want[i]) / (1 + std::fabs(double{want[i]})));
  INFO("from logit " << first << ": worst error " << worst);
  CHECK(worst <= 2e-4);
  CHECK(!std::isnan(worst));
}

inline std::vector<float> eval_in_chunks(Session& session, const std::vector<int32_t>& ids,
                                         size_t chunk) {
  const size_t vocab = static_cast<size_t>(session.model().spec().vocab);
  std::vector<float> logits(ids.size() * vocab);
  for (size_t t = 0; t < ids.size(); t += chunk)
    session.eval(std::span(ids).subspan(t, std::min(chunk, ids.size() - t)),
                 logits.data() + t * vocab);
  return logits;
}

inline int32_t best(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace klens::testing
