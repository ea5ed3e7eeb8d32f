// Hymba (arXiv 2411.13676): attention and Mamba-1 heads side by side in every layer, learned tokens
// before every sequence, most layers windowed, keys and values shared by neighbouring layers.
#include <cmath>

#include "loaders/architectures/builders.h"
#include "loaders/architectures/spec_builder.h"

namespace klens {
namespace {

enum class QkNorm { kNone, kShared, kByHead };

struct HymbaShape {
  ModelSizes sizes;
  int64_t heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
  Mamba1Shape mamba;
  bool scan_norms = true;
  QkNorm qk_norm = QkNorm::kNone;
  int64_t prefix = 0;            // learned tokens
  std::vector<int64_t> reach;    // by layer
  std::vector<size_t> producer;  // by layer: whose keys and values it reads
  int64_t mlp_width = 0;         // 0: no MLP
  bool gated = true;
};

void read_heads(const Config& config, HymbaShape& shape) {
  const int64_t d_model = shape.sizes.d_model, d_inner = shape.mamba.d_inner;
  shape.heads = config.integer({"num_attention_heads"}, 1, kMaxHeads);
  shape.kv_heads = config.integer({"num_key_value_heads"}, 1, kMaxHeads, shape.heads);
  if (shape.heads % shape.kv_heads != 0)
    config.fail("num_key_value_heads does not divide num_attention_heads");
  if (d_model % shape.heads != 0 || d_inner % shape.heads != 0)
    config.fail("num_attention_heads does not divide hidden_size and the width of Mamba heads");
  shape.head_dim = d_model / shape.heads;
  shape.value_dim = d_inner / shape.heads;  // whatever v_head_dim is
  // Below 0 stands for what follows from the others.
  const int64_t key_dim = config.integer({"kq_head_dim"}, -1, kMaxWidth, -1);
  const int64_t width = config.integer({"attn_hidden_size"}, -1, kMaxWidth, -1);
  if ((key_dim >= 0 && key_dim != shape.head_dim) || (width >= 0 && width != d_model))
    config.unsupported("kq_head_dim or attn_hidden_size is not what follows from hidden_size");
}

// sliding_window keys before a query and its own, but for the layers of global_attn_idx.
void read_reach(const Config& config, HymbaShape& shape) {
  const size_t layers = static_cast<size_t>(shape.sizes.layers);
  shape.reach.assign(layers, reach_of(std::nullopt));
  const std::vector<int64_t> global = config.integers("global_attn_idx", 0, shape.sizes.layers - 1);
  if (!config.has({"sliding_window"})) return;
  shape.reach.assign(layers, config.integer({"sliding_window"}, 0, kMaxPosition));
  for (int64_t layer : global) shape.reach[static_cast<size_t>(layer)] = reach_of(std::nullopt);
}

// kv_reuse_group: the first of each group makes keys and values that the others read. Or every
// kv_reuse_every_i_layer-th layer makes them.
void read_producers(const Config& config, HymbaShape& shape) {
  const int64_t layers = shape.sizes.layers;
  for (int64_t i = 0; i < layers; ++i) shape.producer.push_back(static_cast<size_t>(i));
  const int64_t every = config.integer({"kv_reuse_every_i_layer"}, -1, kMaxBlocks, -1);
  if (!config.has({"kv_reuse_group"}) && every > 0)
    for (int64_t i = 0; i < layers; ++i)
      shape.producer[static_cast<size_t>(i)] = static_cast<size_t>(i - i % every);
  std::vector<bool> grouped(static_cast<size_t>(layers), false);
  for (const std::vector<int64_t>& group : config.integer_lists("kv_reuse_group", 0, layers - 1))
    for (int64_t member : group) {
      const size_t at = static_cast<size_t>(member);
      if (member < group.front() || grouped[at])
        config.fail("kv_reuse_group has layer " + std::to_string(member) +
                    " before its first, or twice");
      grouped[at] = true;
      shape.producer[at] = static_cast<size_t>(group.front());
    }
  for (size_t i = 0; i < shape.producer.size(); ++i)
    if (shape.reach[i] != shape.reach[shape.producer[i]])
      config.unsupported("kv_reuse_group mixes global and windowed layers");
}

QkNorm read_qk_norm(const Config& config) {
  if (!config.has({"kq_norm"})) config.fail("lacks kq_norm");
  const std::string kind = config.text({"kq_norm"}, "none");
  if (kind == "none") return QkNorm::kNone;
  if (kind == "rms") return QkNorm::kShared;
  if (kind == "perhead-rms") return QkNorm::kByHead;
  config.unsupported("kq_norm \"" + kind + "\" is not one that klens has (none, rms, perhead-rms)");
}

std::optional<RopeSpec> hymba_rope(const Config& config, int64_t head_dim) {
  const bool rotates = config.boolean({"rope"}, false);
  const std::string type = config.text({"rope_type"}, "default");
  double base = config.number({"rope_theta"}, 1, 1e15, 10000);
  if (!rotates) return std::nullopt;
  if (head_dim % 2 != 0 || head_dim < 4)
    config.unsupported("rotates heads of " + std::to_string(head_dim) + " channels");
  if (type == "ntk") {
    const double longest =
        static_cast<double>(config.integer({"max_position_embeddings"}, 1, kMaxPosition));
    const double trained =
        static_cast<double>(config.integer({"orig_max_position_embeddings"}, 1, kMaxPosition));
    const double stretch = 2 * longest / trained - 1;
    if (!(stretch > 0)) config.fail("orig_max_position_embeddings exceeds what ntk can stretch");
    const double dim = static_cast<double>(head_dim);
    base *= std::pow(stretch, dim / (dim - 2));
  } else if (type != "default") {
    config.unsupported("rope_type \"" + type + "\" is not one that klens has (default, ntk)");
  }
  return RopeSpec{.inv_freq = rope_frequencies(base, head_dim), .scale = 1, .dynamic = {}};
}

HymbaShape hymba_shape(const Config& config) {
  HymbaShape shape;
  shape.sizes = model_sizes(config, 1e-6);
  require_silu(config, "hidden_act");
  shape.mamba = mamba_dt_shape(config, shape.sizes.d_model);
  shape.scan_norms = config.boolean({"mamba_inner_layernorms"}, true);
  read_heads(config, shape);
  read_reach(config, shape);
  read_producers(config, shape);
  shape.qk_norm = read_qk_norm(config);
  shape.prefix = config.integer({"num_memory_tokens"}, 0, kMaxWidth, 0);
  if (config.integer({"memory_tokens_interspersed_every"}, 0, kMaxPosition, 0) != 0)
    config.unsupported("memory_tokens_interspersed_every repeats tokens inside the text");
  shape.mlp_width = config.integer({"intermediate_size"}, 0, kMaxWidth);
  if (!config.has({"mlp_hidden_act"})) config.fail("lacks mlp_hidden_act");
  const Activation act = activation(config, "mlp_hidden_act", "silu");
  if (act == Activation::kGelu) config.unsupported("mlp_hidden_act must be silu or relu2");
  shape.gated = act == Activation::kSilu;
  if (config.integer({"num_mamba"}, 0, kMaxHeads, 1) != 1)
    config.unsupported("num_mamba other than 1 asks for several Mamba mixers in a layer");
  for (const std::string& type : config.texts("layer_type"))
    if (type != "h") config.unsupported("layer_type names a layer \"" + type + "\", not h");
  // One expert is all that is ever built.
  config.integer({"num_experts"}, 0, kMaxExperts, 1);
  config.integer({"num_experts_per_tok"}, 0, kMaxExperts, 1);
  return shape;
}

NormSpec qk_norm(SpecBuilder& builder, const std::string& name, const HymbaShape& shape,
                 int64_t heads) {
  const std::vector<int64_t> by_head = {1, heads, 1, shape.head_dim}, shared = {shape.head_dim};
  return {.weight =
              builder.small(name + ".weight", shape.qk_norm == QkNorm::kByHead ? by_head : shared),
          .eps = 1e-6f};
}

// `caches`: by layer, the cache it made or reads.
AttentionCoreSpec attention_heads(SpecBuilder& builder, const std::string& prefix, size_t layer,
                                  const HymbaShape& shape, std::vector<size_t>& caches) {
  AttentionCoreSpec core;
  core.heads = shape.heads;
  core.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim)));
  if (!builder.spec().ropes.empty()) core.rope = 0;
  core.makes_kv = shape.producer[layer] == layer;
  if (core.makes_kv) {
    caches[layer] = builder.cache({.kv_heads = shape.kv_heads,
                                   .k_dim = shape.head_dim,
                                   .v_dim = shape.value_dim,
                                   .reach = shape.reach[layer],
                                   .pinned = shape.prefix});
  } else {
    caches[layer] = caches[shape.producer[layer]];
    builder.uses_cache(caches[layer]);
  }
  core.cache = caches[layer];
  if (shape.qk_norm == QkNorm::kNone) return core;
  // Layers that make no keys hold a norm of them all the same.
  core.q_norm = qk_norm(builder, prefix + "self_attn.q_norm", shape, shape.heads);
  core.k_norm = qk_norm(builder, prefix + "self_attn.k_norm", shape, shape.kv_heads);
  return core;
}

HymbaSpec hymba_mixer(SpecBuilder& builder, const std::string& prefix, size_t layer,
                      const HymbaShape& shape, std::vector<size_t>& caches) {
  const int64_t d_model = builder.d_model(), d_inner = shape.mamba.d_inner;
  const float eps = shape.sizes.norm_eps;
  const int64_t kv =
      shape.producer[layer] == layer ? shape.kv_heads * (shape.head_dim + shape.value_dim) : 0;
  HymbaSpec spec;
  spec.in_proj =
      builder.projection(prefix + "in_proj", d_model + kv + 2 * d_inner, d_model, shape.mamba.bias);
  if (kv > 0)  // q and k | v | x and gate
    builder.cut(spec.in_proj.matrix, std::array{d_model + shape.kv_heads * shape.head_dim,
                                                shape.kv_heads * shape.value_dim});
  spec.attention = attention_heads(builder, prefix, layer, shape, caches);
  spec.scan = selective_scan(builder, prefix, shape.mamba, ".0");
  if (shape.scan_norms) {
    spec.scan.dt_norm = builder.norm(prefix + "dt_layernorm", shape.mamba.dt_rank, eps);
    spec.scan.b_norm = builder.norm(prefix + "B_layernorm", shape.mamba.d_state, eps);
    spec.scan.c_norm = builder.norm(prefix + "C_layernorm", shape.mamba.d_state, eps);
  }
  spec.attention_norm = builder.norm(prefix + "pre_avg_layernorm1", d_inner, eps);
  spec.scan_norm = builder.norm(prefix + "pre_avg_layernorm2", d_inner, eps);
  spec.out_proj = builder.projection(prefix + "out_proj", d_model, d_inner, shape.mamba.bias);
  return spec;
}

}  // namespace

ModelSpec build_hymba(const Config& config, const HasTensor& has) {
  const HymbaShape shape = hymba_shape(config);
  const ModelSizes& sizes = shape.sizes;
  SpecBuilder builder(config, has, sizes.vocab, sizes.d_model, "model.embed_tokens",
                      tied_head(config, has, false));
  if (shape.prefix > 0)
    builder.spec().prefix = builder.small("model.memory_tokens", {shape.prefix, sizes.d_model});
  if (std::optional<RopeSpec> rotation = hymba_rope(config, shape.head_dim))
    builder.rope(std::move(*rotation));
  std::vector<size_t> caches(static_cast<size_t>(sizes.layers));
  for (size_t i = 0; i < caches.size(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const NormSpec norm = builder.norm(layer + "input_layernorm", sizes.d_model, sizes.norm_eps);
    builder.add({.norm = norm,
                 .mixer = hymba_mixer(builder, layer + "mamba.", i, shape, caches),
                 .shared = std::nullopt});
    if (shape.mlp_width == 0) continue;
    const std::string mlp = layer + "moe.experts.0.";
    const NormSpec second =
        builder.norm(layer + "pre_moe_layernorm", sizes.d_model, sizes.norm_eps);
    builder.add({.norm = second,
                 .mixer = shape.gated ? gated_mlp(builder, mlp, shape.mlp_width, Activation::kSilu)
                                      : plain_mlp(builder, mlp, sizes.d_model, shape.mlp_width,
                                                  Activation::kRelu2, false),
                 .shared = std::nullopt});
  }
  return builder.finish("model.final_layernorm", sizes.norm_eps);
}

}  // namespace klens
