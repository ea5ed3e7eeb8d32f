// What keeps a model's numbers in the precision that they need.
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/jobs/quantize_job.h"
#include "engine/session.h"
#include "klens/klens.h"
#include "loaders/mapped_file.h"
#include "tests/engine/patched.h"

namespace klens {
namespace {

using namespace klens::testing;

// What klens.h tells of a model whose session is fed the ids twice.
std::vector<std::string> notices_of(const std::string& path, std::span<const int32_t> ids) {
  std::vector<std::string> lines;
  klens_model_options options{};
  options.size = sizeof options;
  options.kv = KLENS_KV_FP16;
  options.notice = [](void* user, const char* line) {
    static_cast<std::vector<std::string>*>(user)->emplace_back(line);
  };
  options.notice_user = &lines;
  klens_model* model = nullptr;
  klens_session* session = nullptr;
  REQUIRE(klens_model_open(path.c_str(), &options, &model, nullptr) == KLENS_OK);
  REQUIRE(klens_session_new(model, nullptr, &session, nullptr) == KLENS_OK);
  for (int i = 0; i < 2; ++i)
    CHECK(klens_session_eval(session, ids.data(), ids.size(), nullptr) == KLENS_OK);
  klens_session_free(session);
  klens_model_free(model);
  for (const std::string& line : lines)
    CHECK_THAT(line, Catch::StartsWith(path + ": keys or values of ") &&
                         Catch::EndsWith(" are kept in FP32 from here on"));
  return lines;
}

}  // namespace

TEST_CASE("states are FP32 where the config asks for it, whatever keys and values are",
          "[precision]") {
  for (const char* golden : {"mamba2", "nemotron_h", "falcon_h1"}) {
    CAPTURE(golden);
    const Patched plain(golden, R"({"mamba_ssm_cache_dtype":null})"),
        asked(golden, R"({"mamba_ssm_cache_dtype":"float32"})");
    const auto half = plain.open(KvType::kF16), full = plain.open(KvType::kF32),
               both = asked.open(KvType::kF16);
    CHECK(half->states().bytes() < full->states().bytes());
    CHECK(both->states().bytes() == full->states().bytes());
    CHECK(logits_of(both) != logits_of(half));
  }
  CHECK(logits_of(Patched("mamba2", R"({"mamba_ssm_cache_dtype":"float32"})").open(KvType::kF16)) ==
        logits_of(Patched("mamba2", "{}").open(KvType::kF32)));
}

// Keys times 2^20 and queries by 2^20, values times 2^20 and what reads them by it: the same model.
TEST_CASE("keys and values beyond FP16 turn their caches to FP32", "[precision]") {
  constexpr float kMuch = 0x1p20f;
  for (const char* golden : {"llama", "jamba"}) {
    CAPTURE(golden);
    const Patched plain(golden, "{}"), large(golden, "{}",
                                             {{"self_attn.k_proj.weight", kMuch},
                                              {"self_attn.q_proj.weight", 1 / kMuch},
                                              {"self_attn.v_proj.weight", kMuch},
                                              {"self_attn.o_proj.weight", 1 / kMuch}});
    const std::vector<float> want = logits_of(plain.open(KvType::kF32));
    const auto model = large.open(KvType::kF16);
    const std::vector<float> got = logits_of(model);
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i)
      worst = std::max(worst, std::fabs(double{got[i]} - want[i]) / (1 + std::fabs(want[i])));
    CHECK(worst < 1e-4);

    // From a token on: what was held before keeps its bits, and it can be forked, saved and loaded.
    const int32_t ids[] = {5, 9, 2};
    Session session(model, 512);
    CHECK(session.wide_caches() == 0);
    session.eval(ids, nullptr);
    CHECK(session.wide_caches() > 0);
    const TemporaryFolder folder;
    session.save(folder / "session");
    Session loaded(model, 512), fork(session);
    loaded.load(folder / "session");
    CHECK(loaded.wide_caches() == session.wide_caches());
    for (Session* one : {&session, &loaded, &fork}) one->eval(std::span(ids).first(1), nullptr);
    CHECK(std::equal(session.logits().begin(), session.logits().end(), loaded.logits().begin()));
    CHECK(std::equal(session.logits().begin(), session.logits().end(), fork.logits().begin()));
    session.reset();
    CHECK(session.wide_caches() == 0);
    CHECK(notices_of(large.path(), ids).size() == 1);
    CHECK(notices_of(plain.path(), ids).empty());
  }
  Session ordinary(Patched("llama", "{}").open(KvType::kF16), 512);
  ordinary.eval(std::vector<int32_t>(100, 3), nullptr);
  CHECK(ordinary.wide_caches() == 0);
}

// B, of 16 states, are rows from 128 on of mamba2's convolution.
TEST_CASE("Mamba-2 states beyond FP16 end with the cure", "[precision]") {
  const ModelSpec spec = open_model(data_path("goldens/mamba2"))->spec();
  const auto& mixer = std::get<Mamba2Spec>(spec.blocks[0].mixer);
  const auto enlarged = [&](float by) {
    const int64_t bs = mixer.groups * mixer.d_state;
    return Patched(
        "mamba2", "{}",
        {{"conv1d.weight", by, mixer.d_inner, bs}, {"conv1d.bias", by, mixer.d_inner, bs}});
  };
  const Patched large = enlarged(1e7f), some = enlarged(300);
  std::vector<int32_t> ids(600);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(7 * i % 160);
  for (const size_t chunk : {size_t{1}, size_t{7}, size_t{200}}) {
    CAPTURE(chunk);
    const auto run = [&](const std::shared_ptr<const Model>& model) {
      Session session(model, 512);
      for (size_t at = 0; at < ids.size(); at += chunk)
        session.eval(std::span(ids).subspan(at, std::min(chunk, ids.size() - at)), nullptr);
      return session.position();
    };
    CHECK_THROWS_WITH(run(large.open(KvType::kF16)),
                      Catch::StartsWith(large.path() + ": the state of backbone.layers.") &&
                          Catch::EndsWith("run the model with --kv f32"));
    CHECK(run(large.open(KvType::kF32)) == 600);
    CHECK(run(some.open(KvType::kF16)) == 600);
  }
}

TEST_CASE("weights beyond FP16 are not clipped in a model file", "[precision]") {
  const TemporaryFolder folder;
  const Patched large("mamba", "{}", {{"layers.0.mixer.out_proj.weight", 1e7f}});
  const auto model = open_model(large.path());
  const auto write = [&](const char* format, const char* tensor_types) {
    QuantizeOptions options;
    options.request.method = "uniform";
    options.request.uniform_format = format;
    options.tensor_types = tensor_types;
    options.measure = false;
    Progress progress(nullptr);
    quantize(*model, nullptr, folder / "model.klens", options, progress);
  };
  CHECK_THROWS_WITH(
      write("fp16", ""),
      Catch::StartsWith(large.path() +
                        ": unit backbone.layers.0.mixer.out_proj has weights up to ") &&
          Catch::Contains("more than fp16 holds; give it another format: "
                          "--tensor-type \"^backbone.layers.0.mixer.out_proj$=int8g32\""));
  CHECK(!std::filesystem::exists(folder / "model.klens"));
  CHECK_THROWS_WITH(write("int4g32", ""), Catch::Contains("more than int4g32 holds"));
  write("fp16", "^backbone.layers.0.mixer.out_proj$=int8");
  CHECK(std::filesystem::exists(folder / "model.klens"));
  write("int8", "");
}

}  // namespace klens
