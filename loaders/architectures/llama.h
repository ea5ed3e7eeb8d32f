#pragma once
#include "loaders/architectures/architecture.h"

namespace klens {

ModelSpec build_llama(const Config& config, const HasTensor& has);
ModelSpec build_mistral(const Config& config, const HasTensor& has);  // + sliding window
ModelSpec build_qwen2(const Config& config, const HasTensor& has);    // + q, k, v biases
ModelSpec build_qwen3(const Config& config, const HasTensor& has);    // + norms of queries and keys

}  // namespace klens
