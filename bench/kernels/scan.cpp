#include "bench/kernels/bench.h"
#include "kernels/cpu/conv1d/conv1d.h"
#include "kernels/cpu/conv1d/short_conv.h"
#include "kernels/cpu/scan/delta_rule.h"
#include "kernels/cpu/scan/selective_scan.h"
#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {
namespace {

// Gstep/s: a step of one state is one exponential, two multiply-adds and a multiplication.
void add_selective(int64_t channels, int64_t tokens) {
  constexpr int64_t kStates = 16;
  const int64_t count = tokens * channels;
  const double steps = static_cast<double>(count * kStates);
  add(
      "selective_scan", selective_scan_variants(),
      std::to_string(channels) + "/s16/t" + std::to_string(tokens),
      [=](State& state, SelectiveScan* run) {
        const Block<float> x(count), dt(count, 0.001f, 0.1f), z(count), y(count), d(channels);
        const Block<float> b(tokens * kStates), c(tokens * kStates), a(channels * kStates, -8, -1);
        const Block<float> h(channels * kStates);
        for (auto _ : state)
          run({x.data(), channels, dt.data(), channels, z.data(), channels, b.data(), c.data(),
               kStates, a.data(), d.data(), h.data(), y.data(), channels, tokens, channels, kStates,
               0, channels});
        report(state, 0, 16.0 * static_cast<double>(count));
        state.counters["Gstep/s"] =
            Counter(steps * static_cast<double>(state.iterations()) / 1e9, Counter::kIsRate);
      },
      steps);
}

// Operations of the recurrence, whatever way a row takes: it updates and reads every state. Bytes:
// states, read, and written unless a token comes alone. Where products may be rounded states are
// FP16, as in a model with 8-bit activations.
void add_ssd(int64_t heads, int64_t dim, int64_t states, int64_t tokens, bool rounded) {
  const int64_t cols = heads * dim,
                width = cols + 2 * states;  // rows of x, B and C, as after conv1d
  const double operations = 5.0 * static_cast<double>(tokens * cols * states);
  add(
      "ssd_scan", ssd_scan_variants(),
      std::to_string(heads) + "x" + std::to_string(dim) + "/s" + std::to_string(states) + "/t" +
          std::to_string(tokens) + (rounded ? "/rounded" : ""),
      [=](State& state, SsdScan* run) {
        const Block<float> x(tokens * width), y(tokens * cols), dt(tokens * heads, 0.001f, 0.1f);
        const Block<float> a(heads, -8, -1), d(heads), h(cols * states);
        const Block<uint16_t> half(rounded ? cols * states : 0, 0, 15000);  // FP16 from 0 to 0.82
        const Block<float> pending(ssd_pending_size(heads, dim, 1, states));
        SsdScanArgs args{.x = x.data(),
                         .x_stride = width,
                         .dt = dt.data(),
                         .dt_stride = heads,
                         .b = x.data() + cols,
                         .c = x.data() + cols + states,
                         .bc_stride = width,
                         .a = a.data(),
                         .d = d.data(),
                         .state = rounded ? nullptr : h.data(),
                         .half_state = rounded ? half.data() : nullptr,
                         .pending = ssd_pending_at(pending.data(), heads, dim, 1, states),
                         .position = 0,
                         .y = y.data(),
                         .y_stride = cols,
                         .tokens = tokens,
                         .heads = heads,
                         .head_dim = dim,
                         .groups = 1,
                         .states = states,
                         .head_begin = 0,
                         .head_end = heads,
                         .work = nullptr,
                         .rounded = rounded};
        const Block<float> work(ssd_scan_work(args));
        args.work = work.data();
        for (auto _ : state) {
          if (tokens == 1) ssd_keep_b(args);
          run(args);
          args.position += tokens;
        }
        const double times = tokens == 1 ? 1 : 2, bytes = rounded ? 2 : 4;
        report(state, operations, times * bytes * static_cast<double>(cols * states));
      },
      operations);
}

// Operations of the recurrence, whatever way a row takes: it reads the state for the key and the
// query, and updates it. Bytes: the state, read and written.
void add_delta(int64_t heads, int64_t key_heads, int64_t dim, int64_t tokens, bool rounded) {
  const int64_t keys = key_heads * dim, values = heads * dim, width = 2 * keys + values;
  const double operations = 7.0 * static_cast<double>(tokens * values * dim);
  add(
      "delta_rule", delta_rule_variants(),
      std::to_string(heads) + "x" + std::to_string(dim) + "/k" + std::to_string(key_heads) + "/t" +
          std::to_string(tokens) + (rounded ? "/rounded" : ""),
      [=](State& state, DeltaRule* run) {
        const Block<float> qkv(tokens * width), y(tokens * values), h(values * dim);
        const Block<float> decay(tokens * heads, -0.1f, -0.001f), beta(tokens * heads, 0, 1);
        DeltaRuleArgs args{.q = qkv.data(),
                           .k = qkv.data() + keys,
                           .v = qkv.data() + 2 * keys,
                           .qkv_stride = width,
                           .log_decay = decay.data(),
                           .decay_stride = heads,
                           .by_channel = false,
                           .beta = beta.data(),
                           .beta_stride = heads,
                           .state = h.data(),
                           .position = 0,
                           .y = y.data(),
                           .y_stride = values,
                           .tokens = tokens,
                           .heads = heads,
                           .key_heads = key_heads,
                           .k_dim = dim,
                           .v_dim = dim,
                           .tiled = false,
                           .head_begin = 0,
                           .head_end = heads,
                           .work = nullptr,
                           .rounded = rounded};
        const Block<float> work(delta_rule_work(args));
        args.work = work.data();
        for (auto _ : state) run(args);
        report(state, operations, 8.0 * static_cast<double>(values * dim));
      },
      operations);
}

void add_conv(int64_t channels, int64_t tokens) {
  const int64_t count = tokens * channels;
  add("conv1d", conv1d_variants(), std::to_string(channels) + "/t" + std::to_string(tokens),
      [=](State& state, Conv1d* run) {
        const Block<float> x(count), y(count), w(4 * channels), b(channels), s(3 * channels);
        for (auto _ : state)
          run({x.data(), channels, y.data(), channels, w.data(), b.data(), s.data(), tokens,
               channels, 4, 0, channels});
        report(state, 0, 8.0 * static_cast<double>(count));
      });
}

void add_short_conv(int64_t channels, int64_t tokens) {
  const int64_t count = tokens * channels;
  add("short_conv", short_conv_variants(), std::to_string(channels) + "/t" + std::to_string(tokens),
      [=](State& state, ShortConv* run) {
        const Block<float> bcx(3 * count), y(count), w(3 * channels), s(2 * channels);
        for (auto _ : state)
          run({bcx.data(), bcx.data() + channels, bcx.data() + 2 * channels, 3 * channels, y.data(),
               channels, w.data(), nullptr, s.data(), tokens, channels, 3, 0, channels});
        report(state, 0, 16.0 * static_cast<double>(count));
      });
}

}  // namespace

void add_scan() {
  for (const int64_t tokens : {1, 8, 512}) {
    for (const int64_t channels : {1536, 4096}) {
      add_selective(channels, tokens);
      add_conv(channels, tokens);
    }
    add_short_conv(2048, tokens);           // LFM2 1.2 B
    add_conv(1792, tokens);                 // Mamba-2 130 M: x, B and C
    add_delta(16, 16, 128, tokens, false);  // Qwen3.5 0.8 B, and 4 B and 9 B
    add_delta(32, 16, 128, tokens, false);
    if (tokens > 1) add_delta(16, 16, 128, tokens, true);
    for (const bool rounded : {false, true}) {
      add_ssd(24, 64, 128, tokens, rounded);
      add_ssd(64, 64, 128, tokens, rounded);
      add_ssd(64, 80, 64, tokens, rounded);
    }
  }
}

}  // namespace klens::cpu
