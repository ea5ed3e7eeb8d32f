#include "kernels/cpu/elementwise/elementwise.h"

#include "bench/kernels/bench.h"
#include "kernels/cpu/divergence/divergence.h"
#include "kernels/cpu/elementwise/gated.h"
#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {
namespace {

void add_rows(int64_t cols, int64_t tokens) {
  const int64_t count = tokens * cols;
  const double bytes = 4.0 * static_cast<double>(count);
  const std::string size = std::to_string(cols) + "/t" + std::to_string(tokens);
  add("rms_norm", rms_norm_variants(), size, [=](State& state, RmsNorm* run) {
    const Block<float> x(count), y(count), w(cols);
    for (auto _ : state) run({x.data(), cols, y.data(), cols, w.data(), tokens, cols, 1e-5f});
    report(state, 0, 2 * bytes);
  });
  const auto elementwise = [=](State& state, Elementwise* run) {
    const Block<float> x(count, -5, 5), y(count);
    for (auto _ : state) run({x.data(), cols, y.data(), cols, nullptr, tokens, cols});
    report(state, 0, 2 * bytes);
  };
  add("exp", exp_variants(), size, elementwise);
  add("silu", silu_variants(), size, elementwise);
  add("softplus", softplus_variants(), size, elementwise);
  add("gelu", gelu_variants(), size, elementwise);
  add("relu2", relu2_variants(), size, elementwise);
  const auto gated = [=](State& state, Gated* run) {
    const Block<float> gate(count, -5, 5), up(count), y(count);
    for (auto _ : state) run({gate.data(), cols, 1, up.data(), cols, y.data(), cols, tokens, cols});
    report(state, 0, 3 * bytes);
  };
  add("gated_silu", gated_silu_variants(), size, gated);
  add("gated_gelu", gated_gelu_variants(), size, gated);
}

void add_vocabulary(int64_t vocab) {
  add("divergence", divergence_variants(), std::to_string(vocab),
      [=](State& state, DivergenceFn* run) {
        const Block<float> z(vocab, -10, 10), zq(vocab, -10, 10);
        for (auto _ : state) benchmark::DoNotOptimize(run({z.data(), zq.data(), vocab}));
        report(state, 0, 8.0 * static_cast<double>(vocab));
      });
  add("log_sum_exp", log_sum_exp_variants(), std::to_string(vocab),
      [=](State& state, LogSumExpFn* run) {
        const Block<float> z(vocab, -10, 10);
        for (auto _ : state) benchmark::DoNotOptimize(run(z.data(), vocab));
        report(state, 0, 4.0 * static_cast<double>(vocab));
      });
}

}  // namespace

void add_elementwise() {
  for (const int64_t tokens : {1, 8, 512})
    for (const int64_t cols : {768, 2048, 8192}) add_rows(cols, tokens);
  add_vocabulary(50280);
}

}  // namespace klens::cpu
