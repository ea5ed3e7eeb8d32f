#pragma once
#include <map>
#include <span>
#include <string>

#include "loaders/architectures/architecture.h"

namespace klens {

// Bounds that no sound model exceeds; they keep every size computed from a config far from
// overflow.
inline constexpr int64_t kMaxWidth = int64_t{1} << 20;
inline constexpr int64_t kMaxBlocks = 4096;
inline constexpr int64_t kMaxVocab = int64_t{1} << 24;
inline constexpr int64_t kMaxConv = 16;
inline constexpr int64_t kMaxState = 256;
inline constexpr int64_t kMaxHeadDim = 4096;  // of a delta rule's keys and values
inline constexpr int64_t kMaxHeads = 4096;
inline constexpr int64_t kMaxExperts = 4096;
inline constexpr size_t kMaxUnits = 1 << 17;
inline constexpr int64_t kMaxPosition = int64_t{1} << 40;

// Puts a ModelSpec together: matrices and small tensors are declared where blocks need them, in the
// order of execution. What is declared twice under one name (a shared block) is one.
class SpecBuilder {
 public:
  // `embedding`: the embedding's name. Its matrix comes first, or, where tied, is the head's.
  SpecBuilder(const Config& config, const HasTensor& has, int64_t vocab, int64_t d_model,
              const std::string& embedding, bool tied);

  const Config& config() const { return config_; }
  bool has(const std::string& tensor) const { return has_(tensor); }
  ModelSpec& spec() { return spec_; }
  int64_t d_model() const { return spec_.d_model; }

  // The matrix `name`, of tensor name + ".weight"; its kind is the name's last part unless given.
  MatrixId matrix(const std::string& name, int64_t rows, int64_t cols,
                  const std::string& kind = "");
  // A matrix whose tensor is named otherwise, or holds several. `block` is filled in.
  MatrixId matrix(MatrixSpec spec);
  // Matrix `index` of a tensor [count][rows][cols]: NAME.index, of the tensor's name but for
  // ".weight".
  MatrixId stacked(const std::string& tensor, int64_t index, int64_t count, int64_t rows,
                   int64_t cols, const std::string& kind);
  // Parts of the matrix that differ are units of their own: `parts` are their rows, of which the
  // last may be left out. Those that would not begin at a tile go with the part before.
  void cut(MatrixId id, std::span<const int64_t> parts);
  SmallId small(const std::string& tensor, std::vector<int64_t> shape);
  NormSpec norm(const std::string& name, int64_t cols, float eps);  // of tensor name + ".weight"
  ProjectionSpec projection(const std::string& name, int64_t rows, int64_t cols, bool bias = false,
                            const std::string& kind = "");
  // Low-rank matrices list.0 and list.1, from cols to rank to rows.
  ProjectionSpec::Adapter adapter(const std::string& list, int64_t rows, int64_t cols,
                                  int64_t rank);
  size_t cache(KvCacheSpec spec);  // of the block that comes next
  void uses_cache(size_t cache);   // so does the block that comes next
  size_t rope(RopeSpec spec);

  void add(BlockSpec block);
  int64_t next_block() const { return static_cast<int64_t>(spec_.blocks.size()); }

  // Adds final norm and head; an untied head's tensor is `head`.
  ModelSpec finish(const std::string& final_norm, float eps,
                   const std::string& head = "lm_head.weight");

 private:
  void cut_by_ids(MatrixId id);

  const Config& config_;
  const HasTensor& has_;
  ModelSpec spec_;
  std::string embedding_;
  bool tied_;
  std::map<std::string, MatrixId> matrix_ids_;
  std::map<std::string, SmallId> small_ids_;
};

// The sizes that most configs name alike.
struct ModelSizes {
  int64_t d_model = 0, layers = 0, vocab = 0;
  float norm_eps = 0;
};
// hidden_size, num_hidden_layers, vocab_size, rms_norm_eps.
ModelSizes model_sizes(const Config& config, double default_eps);
// The original state-spaces layout: d_model, n_layer, vocab_size padded as the matrices are.
// Refuses what that layout may ask for beyond Mamba blocks.
ModelSizes original_sizes(const Config& config);
// What of its ssm_cfg, the settings of a layer, nobody has read and klens does not know.
void refuse_unknown_layer_settings(const Config& ssm, const char* layer);

// A factor, 1 where the config has none; `count` of them.
float multiplier(const Config& config, const char* key);
std::vector<float> multipliers(const Config& config, const char* key, size_t count);

// tie_word_embeddings (or `key`). Where the config is silent: tied if the architecture's default
// says so (`fallback`) or there is no lm_head.weight. A head that is announced and missing is not
// guessed.
bool tied_head(const Config& config, const HasTensor& has, bool fallback,
               const char* key = "tie_word_embeddings");

// The sizes of Llama's kind of attention, and what varies about it.
struct AttentionShape {
  int64_t d_in = 0;  // width of its input
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, o_bias = false;
  std::optional<size_t> rope;
  std::optional<float> scale;  // of the scores; absent: head_dim^-0.5
  int64_t reach = std::numeric_limits<int64_t>::max();
  std::optional<float> qk_norm_eps;  // Qwen3: q_norm, k_norm of every head
  float qk_norm_offset = 0;
  bool norm_over_heads = false;  // OLMo: of all heads at once
  bool gated = false;            // Qwen3-Next: q_proj has a gate beside every query
  // What tensors are called.
  const char *o_proj = "o_proj", *q_norm = "q_norm", *k_norm = "k_norm";
};
// heads, kv_heads and head_dim from num_attention_heads, num_key_value_heads and head_dim (both
// with their defaults), for an input of hidden_size; attention_bias for all four.
AttentionShape attention_shape(const Config& config, int64_t d_model);
// {q,k,v,o}_proj under `prefix`, which ends in a dot.
AttentionSpec attention(SpecBuilder& builder, const std::string& prefix,
                        const AttentionShape& shape);
// The part of it between projections, its cache included; without norms.
AttentionCoreSpec attention_core(SpecBuilder& builder, const AttentionShape& shape);
// A sliding window of `window` keys, the query's own included, as a reach; absent: all.
int64_t reach_of(std::optional<int64_t> window);

// gate_proj, up_proj and down_proj under `prefix`, whatever they are called there.
struct GatedNames {
  const char *gate = "gate_proj", *up = "up_proj", *down = "down_proj";
};
MlpSpec gated_mlp(SpecBuilder& builder, const std::string& prefix, int64_t d_inner,
                  Activation activation, bool bias = false, const GatedNames& names = {});
// One matrix for gate and up, side by side: `in`; then `out`.
MlpSpec fused_mlp(SpecBuilder& builder, const std::string& in, const std::string& out,
                  int64_t d_inner, Activation activation, bool bias = false);
// up_proj and down_proj under `prefix`, without a gate, for an input of `width` channels.
MlpSpec plain_mlp(SpecBuilder& builder, const std::string& prefix, int64_t width, int64_t d_inner,
                  Activation activation, bool bias);
// Experts whose matrices are stacked in two tensors: [count][d_inner, or 2 d_inner][width], and
// [count][width][d_inner].
struct StackedExperts {
  std::string in, down;
  int64_t count = 0, width = 0, d_inner = 0;
  bool gated = true;
  Activation activation = Activation::kSilu;
};
MlpSpec stacked_expert(SpecBuilder& builder, const StackedExperts& experts, int64_t index);
// hidden_act (or another key): silu, gelu or relu2. Others are refused by name.
Activation activation(const Config& config, const char* key, const char* fallback);

// Refuses anything but silu, the one activation of Mamba's convolution and gate.
void require_silu(const Config& config, const char* key);

// The sizes of a Mamba-2 mixer, wherever a config keeps them.
struct Mamba2Shape {
  int64_t d_inner = 0, heads = 0, head_dim = 0, groups = 0, d_state = 0, d_conv = 0;
  bool in_bias = false, out_bias = false, conv_bias = true;
  std::optional<float> norm_eps;  // absent: no gated norm
  bool norm_before_gate = false;
  float dt_min = 0, dt_max = std::numeric_limits<float>::infinity();
};
// in_proj, conv1d, dt_bias, A_log, D, norm (by group), out_proj under `prefix`. Refuses sizes that
// disagree.
Mamba2Spec mamba2(SpecBuilder& builder, const std::string& prefix, const Mamba2Shape& shape);
// mamba_n_heads, mamba_d_head, ... as Bamba, Granite and Falcon-H1 spell them, without norm; of
// width `d_inner`, or mamba_expand * d_model.
Mamba2Shape mamba_d_shape(const Config& config, int64_t d_model,
                          std::optional<int64_t> d_inner = std::nullopt);
// time_step_limit into dt_min and dt_max; no bounds where it is absent, null or empty. mamba_ssm's
// kernels (mamba_chunk_scan_combined, mamba_split_conv1d_scan_combined) clamp softplus(dt +
// dt_bias) to what they are given as dt_limit, and that is config.time_step_limit in
// cuda_kernels_forward of Mamba2, Bamba, GraniteMoeHybrid, Falcon-H1, Nemotron-H and Zamba2 as
// their authors run them, and ssm_cfg.dt_limit in state-spaces' own Mamba2.
void read_time_step_limit(const Config& config, Mamba2Shape& shape,
                          const char* key = "time_step_limit");

// Refuses a bound of time steps: selective_scan_fn, which runs every Mamba-1, takes none.
void refuse_time_step_limit(const Config& config);

// Whether mamba_ssm_cache_dtype asks for FP32 states. Refuses a word that it does not know.
bool wants_f32_states(const Config& config);

// The sizes of a Mamba-1 mixer.
struct Mamba1Shape {
  int64_t d_inner = 0, d_state = 0, d_conv = 0, dt_rank = 0;
  bool bias = false, conv_bias = true;
};
// mamba_d_state, mamba_dt_rank, ... as Jamba, Zamba and Hymba spell them.
Mamba1Shape mamba_dt_shape(const Config& config, int64_t d_model);
// conv1d, x_proj, dt_proj, A_log, D under `prefix`; all but conv1d have `suffix` after their names.
SelectiveScanSpec selective_scan(SpecBuilder& builder, const std::string& prefix,
                                 const Mamba1Shape& shape, const std::string& suffix = "");
// The sizes and the convolution alone.
SelectiveScanSpec scan_convolution(SpecBuilder& builder, const std::string& prefix,
                                   const Mamba1Shape& shape);
// in_proj, out_proj and all of the above under `prefix`.
Mamba1Spec mamba1(SpecBuilder& builder, const std::string& prefix, const Mamba1Shape& shape);
// A rank: a number, or "auto" (also where absent) for d_model / 16 rounded up.
int64_t dt_rank(const Config& config, const char* key, int64_t d_model);

// The sizes of a Gated DeltaNet mixer: linear_num_value_heads, linear_num_key_heads,
// linear_value_head_dim, linear_key_head_dim, linear_conv_kernel_dim.
struct DeltaNetShape {
  int64_t heads = 0, key_heads = 0, k_dim = 0, v_dim = 0, d_conv = 0;
  bool tiled = false;  // value heads: what a GGUF's config says as "linear_value_heads": "tiled"

  int64_t keys() const { return key_heads * k_dim; }
  int64_t values() const { return heads * v_dim; }
};
// `defaults`: what an architecture has where its config is silent.
DeltaNetShape delta_net_shape(const Config& config, const DeltaNetShape& defaults);
// All but projections and convolutions: A_log, dt_bias and the norm under `prefix`.
DeltaNetSpec delta_net(SpecBuilder& builder, const std::string& prefix, const DeltaNetShape& shape,
                       const std::string& norm, float norm_eps);
// By layer, whether it attends: layer_types, or every full_attention_interval-th.
std::vector<bool> attending_layers(const Config& config, int64_t layers);

// The kinds of layers_block_type or layer_types, `count` of them, in one spelling: "mamba",
// "attention", "hybrid", "mlp", "moe", "sliding". Older configs write mamba and attention, newer
// ones linear_attention and full_attention. Empty if the config has no such key.
std::vector<std::string> layer_kinds(const Config& config, int64_t count);
// By layer, whether it is of this kind, where all others are "mamba".
std::vector<bool> layers_of_kind(const Config& config, int64_t count, const std::string& kind);

// rope_theta, rope_scaling, partial_rotary_factor, or all of them in rope_parameters. Types:
// default, linear, dynamic, yarn, llama3; others are refused by name. `default_theta` counts where
// the config has none.
RopeSpec rope(const Config& config, int64_t head_dim, double default_partial = 1,
              double default_theta = 10000);
// 1 / base^(2 i / dim) for i < dim / 2, in FP32 as transformers computes it.
std::vector<float> rope_frequencies(double base, int64_t dim);

}  // namespace klens
