#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device/host_space.h"
#include "engine/device/scratch.h"
#include "engine/device/state.h"
#include "kernels/weights.h"
#include "loaders/model_spec.h"

namespace klens {

class StepClock;

// A unit as a pass uses it. Its view's addresses are the device's.
struct Weight {
  WeightView view;
  int64_t activation_group =
      0;  // columns per activation scale on the integer path; 0: FP32 activations
  // There, integers of 8 bits that an activation is made of: the second has what the first lost.
  int activation_planes = 1;
  // Columns to a scale and a sum of those, which may be fewer than a group's: weights have groups,
  // too.
  int64_t activation_step() const {
    const int64_t groups = (view.cols + activation_group - 1) / activation_group;
    return view.groups() > groups ? view.group : activation_group;
  }
  // With FP32 activations: whether both are rounded to BF16 where the device is faster by it.
  bool bf16 = false;
  // [1][columns], to which each input adds its squares; or none.
  Rows input_squares = {};
  // [columns][columns], to whose lower triangle each input adds its products; or none.
  Rows input_products = {};
  std::shared_ptr<const void> memory = nullptr;  // the device's copy, where it needs one
};

// The input of one or several linear layers [tokens][columns], and what a device made of it for
// those that came before: activations in planes of 8 bits, at most once per group, step and number
// of planes. That lies in the scratch frame that is open when the first of them runs.
struct LinearInput {
  explicit LinearInput(const Rows& rows) : x(rows) {}

  struct Rounded {
    int64_t group, step, stride;  // as quantize_activations.h has them
    int planes;                   // of a token, one after the other in q, scale and sum
    uint64_t q, scale, sum;
  };
  // What w is multiplied by; null if that is the input itself, or has not been made yet.
  const Rounded* rounded_for(const Weight& w) const {
    if (w.activation_group == 0) return nullptr;
    const int64_t step = w.activation_step();
    for (const Rounded& made : rounded)
      if (made.group == w.activation_group && made.step == step &&
          made.planes == w.activation_planes)
        return &made;
    return nullptr;
  }

  Rows x;
  std::vector<Rounded> rounded;
};

// cos and sin of the rotations of a batch's rows: [rows][pairs].
struct RopeTable {
  Rows cos, sin;
};

// The rows of one pass: tokens of one or several sequences, one sequence after the other.
struct Batch {
  explicit Batch(std::span<const Sequence> list) : sequences(list) {
    for (const Sequence& s : list) rows += s.tokens;
  }
  std::span<const Sequence> sequences;
  int64_t rows = 0;
  Rows embedded;                 // [rows][d_model]; for architectures that come back to it
  std::vector<RopeTable> ropes;  // as ModelSpec::ropes
  // Of a pass of drafts, which is one text: the state that its first token goes on from, whose
  // caches all use. Each token is a sequence by itself, whose state becomes the one behind it.
  SequenceState* drafted = nullptr;
};

// ---- what operations are given ------------------------------------------------------------------

// y = x / rms(x) weight, for each of `heads` equal parts of a row on its own (arXiv 1910.07467).
struct NormArgs {
  Rows x, y;    // y may be x
  Rows weight;  // none, or one row for all heads, or [1][heads * part]: each its own
  float eps;
  int64_t heads = 1;
};

// Causal convolution over time and SiLU; carries a slot of kind kConv1d.
struct Conv1dArgs {
  Rows x, y;    // [rows][channels]
  Rows weight;  // [width][channels]
  Rows bias;    // [1][channels] or none
  size_t slot;
};

// LFM2's short convolution over time: y = after * conv(before * x). Carries a slot of kind kConv1d,
// which holds products before * x.
struct ShortConvArgs {
  Rows before, after, x, y;  // [rows][channels]; the first three of one stride
  Rows weight;               // [width][channels]
  Rows bias;                 // [1][channels] or none
  size_t slot;
};

// Mamba-1 between x_proj and out_proj (arXiv 2312.00752) for one head's channels: dt_proj and
// softplus, the scan, and the gate. Carries the head's channels of a slot of kind kSelectiveScan.
struct SelectiveScanArgs {
  std::span<const Weight> dt_proj;
  Rows x, z;        // [rows][channels]
  Rows dt, b, c;    // [rows][dt_rank], [rows][d_state] twice
  Rows a;           // [d_state][channels]: -exp(A_log)
  Rows d, dt_bias;  // [1][channels]
  size_t slot;
  int64_t first;  // of the channels in the slot
  Rows y;         // [rows][channels]
};

// Mamba-2 between conv1d and norm (arXiv 2405.21060): time steps and scan. Carries a slot of kind
// kSsd.
struct SsdScanArgs {
  Rows dt;             // [rows][heads] before bias and softplus
  Rows x, b, c;        // [rows][heads * head_dim], [rows][groups * states] twice
  Rows dt_bias, a, d;  // [1][heads]; a: -exp(A_log)
  float dt_min, dt_max;
  bool rounded;  // what x, B and C were made of was rounded to 8 bits, or to BF16
  size_t slot;
  const std::string& where;  // file and mixer, for the message that FP16 was left
  Rows y;                    // [rows][heads * head_dim]
};

// The gated delta rule between conv1d and norm (arXiv 2412.06464): lengths of q and k, decays,
// steps and scan. Carries a slot of kind kDeltaRule.
//   log_decay = rate softplus(decay + decay_bias), beta = beta_scale / (1 + e^-beta)
struct DeltaRuleArgs {
  Rows q, k, v;  // [rows][key_heads * k_dim] twice, [rows][heads * v_dim]; of one stride
  Rows decay;    // [rows][heads], or [rows][heads * k_dim]: a decay for each channel of keys
  Rows beta;     // [rows][heads]
  Rows decay_bias, rate;  // [1][as wide as decay], [1][heads]: -exp(A_log)
  float beta_scale;
  bool tiled;    // value head h has key head h % key_heads; else h / (heads / key_heads)
  bool rounded;  // what q, k and v were made of was rounded to 8 bits, or to BF16
  size_t slot;
  Rows y;  // [rows][heads * v_dim]
};

// The gate silu(z), or sigmoid(z), and a norm by groups, in either order, or the gate alone.
struct GatedNormArgs {
  Rows gate, y;  // y is changed in place
  Rows weight;   // [1][width] or none
  float eps;
  int64_t groups;
  enum class Order { kGate, kGateThenNorm, kNormThenGate } order;
  bool sigmoid = false;
};

// Attention of the batch's queries over a cache (arXiv 1706.03762).
struct AttendArgs {
  Rows q, y;  // [rows][heads * k_dim], [rows][heads * v_dim]
  size_t cache;
  KvCacheSpec spec;
  int64_t heads;
  float scale;   // of the scores
  bool rounded;  // what q, k and v were made of was rounded to 8 bits, or to BF16
};

// y = act(x), or, gated, y = act(scale gate) up, where projected is gate and up side by side.
struct ActivateArgs {
  Activation activation;
  bool gated;
  float gate_scale;
  Rows projected, y;
};

// What one position's logits say of a student against its teacher; see kernels/cpu/divergence.
struct PositionScore {
  double lse_p, lse_q;
  double kl, kl_reverse;
  double squared_error, squared;
};

// ---- a lane of work -----------------------------------------------------------------------------

// Operations in order: what one writes the next sees. A call may return before its work is done;
// host() waits for it. Whoever has a lane has it alone.
class Lane {
 public:
  explicit Lane(AddressSpace& space) : space_(space), scratch_(space), host_(host_space_) {}
  virtual ~Lane() = default;
  AddressSpace& space() const { return space_; }

  // Working memory: uninitialised, until the frame ends that it was taken in.
  Rows take(int64_t count, int64_t width) {
    return {scratch_.take(count * width * static_cast<int64_t>(sizeof(float))), count, width};
  }
  uint64_t take_bytes(int64_t bytes) { return scratch_.take(bytes); }
  class Frame {
   public:
    explicit Frame(Lane& lane) : frame_(lane.scratch_), host_(lane.host_) {}

   private:
    Scratch::Frame frame_, host_;
  };

  // The rows where the host can read them, one after the other, until the frame ends. No copy where
  // memory is shared and the rows are contiguous.
  virtual const float* host(const Rows& x) = 0;
  virtual void write(const float* from, const Rows& to) = 0;

  // Matrices are given by their units, each some of their rows, in order; all but the last have a
  // multiple of kTileOutputs.
  virtual void embed(std::span<const Weight> table, std::span<const int32_t> ids, float scale,
                     const Rows& y) = 0;
  // y = W x + bias; bias [1][outputs] or none. x and y must not overlap.
  virtual void linear(std::span<const Weight> units, LinearInput& x, const Rows& bias,
                      const Rows& y) = 0;
  // What linear() does to the units' sums of their inputs, and no more.
  virtual void look(std::span<const Weight> units, LinearInput& x) = 0;
  virtual void norm(const NormArgs& args) = 0;
  virtual void gated_norm(const GatedNormArgs& args) = 0;
  virtual void activate(const ActivateArgs& args) = 0;
  virtual void conv1d(const Conv1dArgs& args, const Batch& batch) = 0;
  virtual void short_conv(const ShortConvArgs& args, const Batch& batch) = 0;
  virtual void selective_scan(const SelectiveScanArgs& args, const Batch& batch) = 0;
  virtual void ssd_scan(const SsdScanArgs& args, const Batch& batch) = 0;
  virtual void delta_rule(const DeltaRuleArgs& args, const Batch& batch) = 0;
  virtual void rope(const Rows& x, int64_t heads, const RopeTable& table) = 0;
  virtual void store_kv(size_t cache, const Rows& k, const Rows& v, const Batch& batch) = 0;
  virtual void attend(const AttendArgs& args, const Batch& batch) = 0;
  // Asked behind the blocks of a pass: whether it is to be run again from its beginning, as keys or
  // values were found to be beyond FP16, whose caches are FP32 now. Only of sequences without
  // slots, which a pass that runs again would find advanced.
  virtual bool must_repeat() { return false; }

  virtual void zero(const Rows& x) = 0;
  virtual void copy(const Rows& from, const Rows& to) = 0;
  virtual void scale(const Rows& x, float by, const Rows& y) = 0;           // y = by x; y may be x
  virtual void scale_columns(const Rows& x, const Rows& by) = 0;            // x *= by [1][width]
  virtual void add(const Rows& a, const Rows& b, const Rows& y) = 0;        // y = a + b
  virtual void mean(const Rows& a, const Rows& b, const Rows& y) = 0;       // y = (a + b) / 2
  virtual void add_scaled(const Rows& from, float by, const Rows& to) = 0;  // to += by from
  // What was interleaved, side by side: a row of `from` is `groups` times a part for each of `to`,
  // of that one's width over `groups`; part g goes to its place g.
  virtual void deinterleave(const Rows& from, int64_t groups, std::span<const Rows> to) = 0;
  virtual void gather(const Rows& from, std::span<const int64_t> rows, const Rows& to) = 0;
  // to[rows[i]] += by[i] from[i]; no row twice.
  virtual void scatter_add(const Rows& from, std::span<const int64_t> rows,
                           std::span<const float> by, const Rows& to) = 0;

  // sums[i][j] += sum over t of x[t][i] x[t][j] / mean square of x[t], for all j <= i; what is
  // above the diagonal is not to be used. Rows of zeros add nothing. rounded: x may be rounded to
  // BF16 before, as by Weight::bf16.
  virtual void add_products(const Rows& x, const Rows& sums, bool rounded) = 0;

  // By row of logits; kl and the like of q = softmax(zq) from p = softmax(z).
  virtual void divergence(const Rows& z, const Rows& zq, std::span<PositionScore> scores) = 0;
  virtual void log_sum_exp(const Rows& z, std::span<double> sums) = 0;

 protected:
  // Memory of the host, for what is read, until the frame ends.
  template <class T>
  T* take_host(int64_t count) {
    return reinterpret_cast<T*>(host_.take(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  AddressSpace& space_;
  HostSpace host_space_;
  Scratch scratch_, host_;
};

// ---- a device -----------------------------------------------------------------------------------

// Where a model runs: memory, and lanes of work. Safe from several threads.
class Device : public AddressSpace {
 public:
  virtual const char* name() const = 0;
  // What computes, such as the instruction set; and what bits and saved states depend on.
  virtual std::string level() const = 0;
  virtual int threads() const = 0;
  // Whether Weight::bf16 makes it faster.
  virtual bool fast_bf16() const { return false; }

  // Weights where the device reads them: in place where it can, else a copy, which lives as long as
  // its `memory`. What is mapped outlives both.
  struct Adopted {
    WeightView view;
    std::shared_ptr<const void> memory;
  };
  virtual Adopted adopt(const WeightView& mapped) = 0;
  // Has the weights come in from where they are mapped. One call per piece, from any thread.
  virtual void fetch(std::span<const std::byte> mapped) = 0;
  // Fills memory at load: `make` is given its floats on the host.
  virtual void fill(const Rows& to, const std::function<void(float*)>& make) = 0;
  virtual void negate_exp(const Rows& x) = 0;  // x = -exp(x), at load

  // Of a slot, as the device lays it out, and the version of that: states are saved as they are.
  virtual int64_t state_bytes(const StateSlot& slot) const = 0;
  virtual int state_version() const = 0;

  // Runs work with all of the device. While another thread has it, work is done all the same, by
  // what its caller has.
  virtual void run(const std::function<void(Lane&)>& work) = 0;
  // job(i, lane) for i in [0, count): side by side if there are enough to keep the device busy,
  // else one after the other with all of it.
  virtual void run_jobs(int64_t count, const std::function<void(int64_t, Lane&)>& job) = 0;
  // Small jobs of the host at load, in any order, on all threads.
  virtual void prepare(int64_t count, const std::function<void(int64_t)>& job) = 0;

  // What the device gives at best, measured in a tenth of a second or two: reading memory, in GB/s;
  // 8-bit multiply-adds, in GOP/s, one counting two.
  virtual double read_bandwidth() = 0;
  virtual double integer_peak() = 0;
  // From now on what lanes do is timed by steps, and by kernels where the device tells their times;
  // null: no longer. While no lane works.
  virtual void time_steps(StepClock* clock) = 0;
  // How many steps take their time side by side.
  virtual int side_by_side() const { return threads(); }
};

}  // namespace klens
