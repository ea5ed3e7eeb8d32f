// What architectures with Gated DeltaNet mixers share.
#include "loaders/architectures/spec_builder.h"

namespace klens {

DeltaNetShape delta_net_shape(const Config& config, const DeltaNetShape& defaults) {
  DeltaNetShape shape;
  shape.heads = config.integer({"linear_num_value_heads"}, 1, kMaxHeads, defaults.heads);
  shape.key_heads = config.integer({"linear_num_key_heads"}, 1, kMaxHeads, defaults.key_heads);
  shape.k_dim = config.integer({"linear_key_head_dim"}, 1, kMaxHeadDim, defaults.k_dim);
  shape.v_dim = config.integer({"linear_value_head_dim"}, 1, kMaxHeadDim, defaults.v_dim);
  shape.d_conv = config.integer({"linear_conv_kernel_dim"}, 1, kMaxConv, defaults.d_conv);
  if (shape.heads % shape.key_heads != 0)
    config.fail("linear_num_key_heads does not divide linear_num_value_heads");
  const std::string order = config.text({"linear_value_heads"}, "grouped");
  if (order != "grouped" && order != "tiled")
    config.unsupported("linear_value_heads is neither grouped nor tiled");
  shape.tiled = order == "tiled";
  require_silu(config, "hidden_act");
  return shape;
}

DeltaNetSpec delta_net(SpecBuilder& builder, const std::string& prefix, const DeltaNetShape& shape,
                       const std::string& norm, float norm_eps) {
  DeltaNetSpec spec;
  spec.heads = shape.heads;
  spec.key_heads = shape.key_heads;
  spec.k_dim = shape.k_dim;
  spec.v_dim = shape.v_dim;
  spec.d_conv = shape.d_conv;
  spec.tiled = shape.tiled;
  spec.a_log = builder.small(prefix + "A_log", {shape.heads});
  spec.dt_bias = builder.small(prefix + "dt_bias", {shape.heads});
  spec.norm = builder.norm(prefix + norm, shape.v_dim, norm_eps);
  return spec;
}

std::vector<bool> attending_layers(const Config& config, int64_t layers) {
  const int64_t interval = config.integer({"full_attention_interval"}, 1, kMaxBlocks, 4);
  std::vector<bool> attends = layers_of_kind(config, layers, "attention");
  if (!attends.empty()) return attends;
  for (int64_t i = 0; i < layers; ++i) attends.push_back((i + 1) % interval == 0);
  return attends;
}

}  // namespace klens
