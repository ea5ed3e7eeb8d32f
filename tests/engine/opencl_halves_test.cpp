// Keys and values beyond FP16 on OpenCL: as on the CPU, their caches turn to FP32.
#include <catch2/catch.hpp>

#include "tests/engine/opencl_device.h"
#include "tests/engine/patched.h"

namespace klens {
namespace {

using namespace klens::testing;

// Keys and values times `by`, queries and what reads values by it: the same model.
Patched enlarged(const std::string& golden, float by) {
  return {golden,
          "{}",
          {{"self_attn.k_proj.weight", by},
           {"self_attn.q_proj.weight", 1 / by},
           {"self_attn.v_proj.weight", by},
           {"self_attn.o_proj.weight", 1 / by}}};
}

std::vector<int32_t> some_ids() {
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(7 * i % 160);
  return ids;
}

// How many caches are FP32 behind each token.
std::vector<int32_t> wide_after_each(const std::shared_ptr<const Model>& model,
                                     std::span<const int32_t> ids) {
  Session session(model, 512);
  std::vector<int32_t> wide;
  for (const int32_t id : ids) {
    session.eval({&id, 1}, nullptr);
    wide.push_back(session.wide_caches());
  }
  return wide;
}

double worst_error(const std::vector<float>& got, const std::vector<float>& want) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i)
    worst = std::max(worst, std::fabs(double{got[i]} - want[i]) / (1 + std::fabs(want[i])));
  return worst;
}

}  // namespace

// llama has no states: its passes are run again. jamba has: its layers wait.
TEST_CASE("keys and values beyond FP16 turn their caches to FP32 on OpenCL", "[opencl][halves]") {
  if (!has_opencl()) return;
  for (const char* golden : {"llama", "jamba"}) {
    CAPTURE(golden);
    const Patched large = enlarged(golden, 0x1p20f);
    const std::vector<float> want = logits_of(Patched(golden, "{}").open(KvType::kF32));
    const auto model = large.open(KvType::kF16, on_opencl());
    CHECK(worst_error(logits_of(model), want) < 1e-4);

    const std::vector<int32_t> ids = some_ids();
    Session session(model, 512), beside(model, 512), alone(model, 512);
    session.eval(std::span(ids).first(30), nullptr);
    CHECK(session.wide_caches() > 0);
    CHECK(session.wide_caches() == [&] {
      Session on_cpu(large.open(KvType::kF16), 512);
      on_cpu.eval(std::span(ids).first(30), nullptr);
      return on_cpu.wide_caches();
    }());
    // Forked, saved and loaded, and beside others, the bits of one that is alone.
    const TemporaryFolder folder;
    session.save(folder / "session");
    Session loaded(model, 512), fork(session);
    loaded.load(folder / "session");
    CHECK(loaded.wide_caches() == session.wide_caches());
    const std::span<const int32_t> rest = std::span(ids).subspan(30);
    for (Session* one : {&session, &loaded, &fork}) one->eval(rest, nullptr);
    CHECK(std::ranges::equal(session.logits(), loaded.logits()));
    CHECK(std::ranges::equal(session.logits(), fork.logits()));
    alone.eval(ids, nullptr);
    Session first(model, 512);
    const std::vector<Feed> feeds = {{&beside, ids}, {&first, std::span(ids).first(1)}};
    for (const Fed& fed : feed_round(feeds)) CHECK_FALSE(fed.error);
    CHECK(std::ranges::equal(beside.logits(), alone.logits()));
    session.reset();
    CHECK(session.wide_caches() == 0);
  }
}

// Where the largest keys are not those of the first tokens: what was held before goes on.
TEST_CASE("a cache turns to FP32 at the token that it has no room for", "[opencl][halves]") {
  if (!has_opencl()) return;
  const std::vector<int32_t> ids = some_ids();
  for (const char* golden : {"llama", "jamba"}) {
    CAPTURE(golden);
    bool found = false;
    for (float by = 0x1p10f; by < 0x1p20f && !found; by *= 1.05f) {
      const Patched large = enlarged(golden, by);
      const std::vector<int32_t> on_cpu = wide_after_each(large.open(KvType::kF16), ids);
      if (on_cpu.front() != 0 || on_cpu.back() == 0) continue;
      found = true;
      CAPTURE(by);
      const auto model = large.open(KvType::kF16, on_opencl());
      CHECK(wide_after_each(model, ids) == on_cpu);
      const std::vector<float> want = logits_of(Patched(golden, "{}").open(KvType::kF32));
      // Those that were held before have FP16's precision.
      CHECK(worst_error(logits_of(model), want) < 2e-2);
      CHECK(worst_error(logits_of(model), logits_of(large.open(KvType::kF16))) < 2e-3);
    }
    CHECK(found);
  }
}

TEST_CASE("layers in front have caches that turn to FP32 too", "[opencl][halves]") {
  if (!has_opencl()) return;
  ModelOptions options = on_opencl();
  options.gpu_layers = 1;
  const std::vector<float> want = logits_of(Patched("llama", "{}").open(KvType::kF32));
  const auto model = enlarged("llama", 0x1p20f).open(KvType::kF16, options);
  REQUIRE(model->front() != nullptr);
  CHECK(worst_error(logits_of(model), want) < 1e-4);
}

TEST_CASE("ordinary keys leave caches in FP16 on OpenCL", "[opencl][halves]") {
  if (!has_opencl()) return;
  Session session(Patched("llama", "{}").open(KvType::kF16, on_opencl()), 512);
  session.eval(std::vector<int32_t>(100, 3), nullptr);
  CHECK(session.wide_caches() == 0);
}

}  // namespace klens
