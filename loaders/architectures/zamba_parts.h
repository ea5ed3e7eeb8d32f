#pragma once
#include "loaders/architectures/spec_builder.h"

// What Zamba and Zamba2 share.
namespace klens {

// The transformer's attention reads [x, embedding]: num_attention_heads, num_key_value_heads,
// attention_head_dim, and scores scaled by (head_dim / 2)^-0.5.
AttentionShape shared_attention_shape(const Config& config, int64_t d_model);

}  // namespace klens
