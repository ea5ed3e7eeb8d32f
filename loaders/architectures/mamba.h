#pragma once
#include "loaders/architectures/architecture.h"

namespace klens {

// Mamba-1 (arXiv 2312.00752) as transformers publishes it.
ModelSpec build_mamba(const Config& config, const HasTensor& has);
// FalconMamba (arXiv 2410.05355): Mamba-1 with weightless RMS norms of dt, B and C.
ModelSpec build_falcon_mamba(const Config& config, const HasTensor& has);
// The original state-spaces/mamba-* layout.
ModelSpec build_original_mamba(const Config& config, const HasTensor& has);

}  // namespace klens
