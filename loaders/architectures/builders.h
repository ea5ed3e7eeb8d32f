#pragma once
#include "loaders/architectures/architecture.h"

// The rule of every architecture; registry.cpp says which names they answer to.
namespace klens {

ModelSpec build_mamba(const Config& config, const HasTensor& has);
ModelSpec build_falcon_mamba(const Config& config, const HasTensor& has);
ModelSpec build_original_mamba(const Config& config, const HasTensor& has);
ModelSpec build_mamba2(const Config& config, const HasTensor& has);
ModelSpec build_original_mamba2(const Config& config, const HasTensor& has);

ModelSpec build_zamba(const Config& config, const HasTensor& has);
ModelSpec build_zamba2(const Config& config, const HasTensor& has);
ModelSpec build_hymba(const Config& config, const HasTensor& has);
ModelSpec build_jamba(const Config& config, const HasTensor& has);
ModelSpec build_bamba(const Config& config, const HasTensor& has);
ModelSpec build_granite_hybrid(const Config& config, const HasTensor& has);
ModelSpec build_falcon_h1(const Config& config, const HasTensor& has);
ModelSpec build_nemotron_h(const Config& config, const HasTensor& has);

ModelSpec build_qwen3_next(const Config& config, const HasTensor& has);
ModelSpec build_qwen3_5(const Config& config, const HasTensor& has);
ModelSpec build_qwen3_5_moe(const Config& config, const HasTensor& has);
ModelSpec build_olmo_hybrid(const Config& config, const HasTensor& has);
ModelSpec build_lfm2(const Config& config, const HasTensor& has);
ModelSpec build_lfm2_moe(const Config& config, const HasTensor& has);

ModelSpec build_llama(const Config& config, const HasTensor& has);
ModelSpec build_granite(const Config& config, const HasTensor& has);
ModelSpec build_mistral(const Config& config, const HasTensor& has);
ModelSpec build_qwen2(const Config& config, const HasTensor& has);
ModelSpec build_qwen3(const Config& config, const HasTensor& has);

}  // namespace klens
