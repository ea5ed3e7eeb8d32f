#include "loaders/architectures/zamba_parts.h"

#include <algorithm>
#include <cmath>

namespace klens {

AttentionShape shared_attention_shape(const Config& config, int64_t d_model) {
  AttentionShape shape;
  shape.d_in = 2 * d_model;
  if (config.integer({"attention_hidden_size"}, 1, 2 * kMaxWidth, shape.d_in) != shape.d_in)
    config.unsupported("attention_hidden_size is not twice hidden_size");
  shape.heads = config.integer({"num_attention_heads"}, 1, kMaxHeads);
  shape.kv_heads = config.integer({"num_key_value_heads"}, 1, kMaxHeads, shape.heads);
  if (shape.heads % shape.kv_heads != 0)
    config.fail("num_key_value_heads does not divide num_attention_heads");
  shape.head_dim = config.integer({"attention_head_dim"}, 1, 2 * kMaxWidth / shape.heads,
                                  std::max<int64_t>(shape.d_in / shape.heads, 1));
  shape.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim) / 2));
  return shape;
}

}  // namespace klens
