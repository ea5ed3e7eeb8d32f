#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace klens {

using UnitId = size_t;    // index into ModelSpec::units
using MatrixId = size_t;  // index into ModelSpec::matrices

// A weight matrix W [rows outputs][cols inputs], as blocks use it.
struct MatrixSpec {
  std::string name;    // the checkpoint's, without ".weight"
  std::string tensor;  // where a checkpoint holds it
  std::string kind;    // in_proj, x_proj, ..., embedding, head
  int64_t rows = 0, cols = 0;
  int64_t block = 0;  // the first block that uses it; -1: embedding; number of blocks: head
  // Some checkpoints stack matrices in one tensor: this one starts at row first_row of the tensor
  // of this shape, all but its last extent taken as rows. Empty: the tensor is [rows][cols].
  int64_t first_row = 0;
  std::vector<int64_t> tensor_shape;
  // Rows where a unit begins, row 0 apart: multiples of kTileOutputs, ascending. Empty: one unit.
  std::vector<int64_t> cuts;
  // Filled in by make_units: its units, one after the other.
  UnitId first_unit = 0;
  size_t units = 0;
};

// A matrix, or a range of its rows, whose format is chosen on its own: a unit.
struct LinearSpec {
  std::string name;  // a UnitName's text: in profiles, plans and model files
  MatrixId matrix = 0;
  std::string tensor, kind;  // the matrix's
  int64_t rows = 0, cols = 0;
  int64_t block = 0;                  // the matrix's
  int64_t first_row = 0;              // in the tensor
  std::vector<int64_t> tensor_shape;  // never empty
};

// A tensor that is never quantised: norms, convolution, A_log, D, biases, routers.
struct SmallSpec {
  std::string tensor;
  std::vector<int64_t> shape;

  int64_t elements() const {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    return count;
  }
};

using SmallId = size_t;  // index into ModelSpec::smalls

// RMS norm (arXiv 1910.07467); weightless where weight is absent.
struct NormSpec {
  std::optional<SmallId> weight;
  float eps = 0;
  float offset = 0;  // added to the weight: 1 where a checkpoint holds what it differs from 1 by
};

// y = W x + bias + up (down x): a linear layer, where given with a bias and a low-rank adapter
// (Zamba2's, arXiv 2411.15242).
struct ProjectionSpec {
  MatrixId matrix = 0;
  std::optional<SmallId> bias;
  struct Adapter {
    MatrixId down, up;
  };
  std::optional<Adapter> adapter;
};

// ---- what blocks are made of --------------------------------------------------------------------

// Mamba-1's inside (arXiv 2312.00752): causal conv1d, x_proj, dt_proj, selective scan, gate. Zamba
// splits the channels into heads that have projections of their own.
struct SelectiveScanSpec {
  int64_t d_inner = 0, d_state = 0, d_conv = 0, dt_rank = 0;
  std::vector<MatrixId> x_proj;   // by head: [dt_rank + 2 d_state][d_inner / heads]: dt, B, C
  std::vector<MatrixId> dt_proj;  // by head: [d_inner / heads][dt_rank]
  std::optional<NormSpec> dt_norm, b_norm, c_norm;
  SmallId conv_weight = 0;  // [d_inner][1][d_conv]
  std::optional<SmallId> conv_bias;
  SmallId dt_bias = 0;  // [d_inner], by head
  SmallId a_log = 0;    // [d_inner][d_state], by head
  SmallId d = 0;        // [d_inner], by head
};

// Rotation of queries and keys (arXiv 2104.09864), half-split order, in the arithmetic of
// transformers: FP32 angles position * inv_freq, cos and sin times `scale`.
struct RopeSpec {
  std::vector<float> inv_freq;
  float scale = 1;
  // Dynamic NTK: beyond max_position the base grows with the length of the sequence.
  struct Dynamic {
    double base, factor;
    int64_t max_position;
  };
  std::optional<Dynamic> dynamic;
};

// Keys and values that one attention layer makes and it, or others too, read.
struct KvCacheSpec {
  int64_t kv_heads = 0, k_dim = 0, v_dim = 0;
  // A query at position p sees keys from p - reach on, and those before `pinned`.
  int64_t reach = std::numeric_limits<int64_t>::max();
  int64_t pinned = 0;
  int64_t first_block = 0, last_block = 0;  // that use it
};

// Attention between its projections: rotation, cache, softmax.
struct AttentionCoreSpec {
  int64_t heads = 0;
  float scale = 0;             // of the scores
  std::optional<size_t> rope;  // index into ModelSpec::ropes
  size_t cache = 0;            // index into ModelSpec::caches
  bool makes_kv = true;        // false: reads what another layer made
  // Norms of queries and keys before rotation, by head: weight [k_dim], or one for each head,
  // [heads][k_dim].
  std::optional<NormSpec> q_norm, k_norm;
  bool norm_over_heads = false;  // those norms are of all heads at once instead (OLMo)
  float key_scale = 1;
};

enum class Activation { kSilu, kGelu, kRelu2 };

// ---- mixers: what a block adds to the residual stream
// ---------------------------------------------

struct Mamba1Spec {
  SelectiveScanSpec scan;
  ProjectionSpec in_proj;  // [2 d_inner][d_model]: x rows, then z rows, or, interleaved, in turn
  ProjectionSpec out_proj;
  bool interleaved = false;
};

// Mamba-2 (arXiv 2405.21060): in_proj, causal conv1d over x, B and C, SSD scan, gated norm,
// out_proj.
struct Mamba2Spec {
  int64_t d_inner = 0, heads = 0, head_dim = 0, groups = 0, d_state = 0, d_conv = 0;
  ProjectionSpec in_proj;  // [2 d_inner + 2 groups d_state + heads][d_model]: z, x, B, C, dt
  ProjectionSpec out_proj;
  SmallId conv_weight = 0;  // [d_inner + 2 groups d_state][1][d_conv]
  std::optional<SmallId> conv_bias;
  SmallId dt_bias = 0, a_log = 0, d = 0;  // [heads]
  std::optional<NormSpec> norm;           // absent: the gate alone
  int64_t norm_groups = 1;
  bool norm_before_gate = false;
  float dt_min = 0, dt_max = std::numeric_limits<float>::infinity();
  bool f32_state = false;  // the model asks for a state in FP32
  // Falcon-H1's multipliers.
  float input_scale = 1, output_scale = 1;
  float z_scale = 1, x_scale = 1, b_scale = 1, c_scale = 1, dt_scale = 1;
};

// LFM2's gated short convolution (arXiv 2511.23404): out_proj(C * conv(B * x)), no activation.
struct ShortConvSpec {
  ProjectionSpec in_proj;   // [3 d_model][d_model]: B, C, x
  ProjectionSpec out_proj;  // [d_model][d_model]
  SmallId conv_weight = 0;  // [d_model][1][d_conv]
  std::optional<SmallId> conv_bias;
};

struct AttentionSpec {
  AttentionCoreSpec core;
  // Outputs side by side: q, k, v; where gated, in place of q, for each head in turn, its query and
  // its gate, whose sigmoid the output is multiplied by (arXiv 2505.06708).
  std::vector<ProjectionSpec> qkv;
  bool gated = false;
  ProjectionSpec o_proj;
  float input_scale = 1, output_scale = 1;
};

struct MlpSpec {
  std::vector<ProjectionSpec> in;  // outputs side by side: gate (where gated), up
  ProjectionSpec down;
  int64_t d_inner = 0;
  bool gated = true;
  Activation activation = Activation::kSilu;
  float gate_scale = 1, output_scale = 1;
};

// Mixture of experts: a router chooses top_k experts for each token.
struct MoeSpec {
  enum class Scores {
    kSoftmax,          // softmax over all, then top-k as they are (Jamba)
    kSoftmaxOfChosen,  // top-k, then softmax over those (Granite)
    kSigmoid,          // sigmoid, groups, correction of the choice (Nemotron-H, LFM2)
  };
  Scores scores = Scores::kSoftmax;
  int64_t top_k = 0;
  SmallId router = 0;                 // [experts][d_model]
  std::optional<SmallId> correction;  // [experts], added to the scores for the choice only
  int64_t groups = 1, top_groups = 1;
  bool normalise = false;  // chosen scores are divided by their sum, and by this more
  float normalise_eps = 1e-20f;
  float routed_scale = 1;
  std::vector<MlpSpec> experts;
  std::optional<MlpSpec> shared;       // for every token, added
  std::optional<SmallId> shared_gate;  // [1][d_model]: times the sigmoid of what it says
  std::optional<ProjectionSpec> latent, unlatent;  // around the experts (Nemotron-H)
};

// Falcon-H1: both on the same input, added.
struct ParallelSpec {
  Mamba2Spec mamba;
  AttentionSpec attention;
};

// Hymba (arXiv 2411.13676): attention and Mamba heads between one in_proj and one out_proj, normed
// and averaged.
struct HymbaSpec {
  ProjectionSpec in_proj;  // rows q, (k, v where makes_kv,) x, gate
  SelectiveScanSpec scan;
  AttentionCoreSpec attention;
  NormSpec attention_norm, scan_norm;  // [d_inner]
  ProjectionSpec out_proj;
};

// Zamba's transformer block, shared by several places: what it makes of [x, embedding] is added to
// the input of the place's Mamba mixer, not to the residual stream.
struct SharedTransformerSpec {
  NormSpec input_norm;  // [2 d_model]
  AttentionSpec attention;
  NormSpec mlp_norm;  // [d_model]
  MlpSpec mlp;
  ProjectionSpec linear;
};

// Gated DeltaNet (arXiv 2412.06464): projections, causal conv1d over q, k and v, delta rule, norm
// of each head and then its gate, out_proj.
struct DeltaNetSpec {
  int64_t heads = 0, key_heads = 0, k_dim = 0, v_dim = 0, d_conv = 0;
  // Outputs side by side: q, k, v, the gate z, b (of beta), a (of the decay). Where interleaved, of
  // each key head in turn: q, k, and its value heads' v and z; then b and a likewise.
  std::vector<ProjectionSpec> in;
  bool interleaved = false;
  std::vector<SmallId> conv_weights;  // [channels][1][d_conv], one after the other: q, k, v
  SmallId a_log = 0, dt_bias = 0;     // [heads]
  float beta_scale = 1;
  bool tiled =
      false;      // value head h has key head h % key_heads, as in GGUF; else they are in order
  NormSpec norm;  // weight [v_dim], of every head
  ProjectionSpec out_proj;
};

// One residual step: x += residual_scale * mixer(norm(x + shared([x, embedding]))), or, where
// norm_after, x += residual_scale * norm(mixer(x)).
struct BlockSpec {
  NormSpec norm;
  std::variant<Mamba1Spec, Mamba2Spec, AttentionSpec, MlpSpec, MoeSpec, ParallelSpec, HymbaSpec,
               ShortConvSpec, DeltaNetSpec>
      mixer;
  std::optional<SharedTransformerSpec> shared;
  float residual_scale = 1;
  bool norm_after = false;
};

// Everything the engine knows about an architecture. Files under architectures/ fill it in; nothing
// else branches on a model's name.
struct ModelSpec {
  std::string architecture;
  int64_t vocab = 0, d_model = 0;
  std::vector<MatrixSpec> matrices;  // in the order of execution; the head is the last
  std::vector<LinearSpec> units;     // made of them, in their order
  std::vector<SmallSpec> smalls;
  std::vector<KvCacheSpec> caches;
  std::vector<RopeSpec> ropes;
  MatrixId embedding = 0, head = 0;  // [vocab][d_model]; the same where tied
  std::vector<BlockSpec> blocks;
  NormSpec final_norm;
  std::optional<SmallId>
      prefix;  // [rows][d_model]: goes before every sequence (Hymba's meta tokens)
  float embedding_scale = 1, logit_scale = 1;
  std::optional<int32_t> bos;

  bool tied() const { return embedding == head; }
  int64_t prefix_rows() const { return prefix ? smalls[*prefix].shape[0] : 0; }
  int64_t parameters() const {
    int64_t count = 0;
    for (const MatrixSpec& matrix : matrices) count += matrix.rows * matrix.cols;
    for (const SmallSpec& small : smalls) count += small.elements();
    return count;
  }
};

// Fills in the units of the matrices as these are cut.
void make_units(ModelSpec& spec);

}  // namespace klens
