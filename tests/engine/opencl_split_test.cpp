// The first layers on OpenCL, the others and the head on the CPU (--gpu-layers).
#include <catch2/catch.hpp>
#include <limits>

#include "engine/jobs/bench_job.h"
#include "quant/layer.h"
#include "tests/engine/opencl_device.h"

namespace klens {
namespace {

using namespace klens::testing;

ModelOptions first_on_opencl(int64_t layers) {
  ModelOptions options = on_opencl();
  options.gpu_layers = layers;
  return options;
}

int64_t layers_of(const Model& model) {
  return model.front() == nullptr ? -1 : model.front()->layers;
}

// Hymba's later layers may read what an earlier one kept: its first layer alone can be cut off.
Golden split_golden(const std::string& name) { return load_golden(name, first_on_opencl(1)); }

}  // namespace

TEST_CASE("goldens hold with the first layer on OpenCL", "[opencl][split]") {
  if (!has_opencl()) return;
  int split = 0;
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    Golden golden;
    try {
      golden = split_golden(name);
    } catch (const Error& error) {
      // The layers that share keys and values are named, and where a cut is possible.
      CHECK_THAT(error.what(), Catch::Contains("share keys and values"));
      continue;
    }
    ++split;
    REQUIRE(layers_of(*golden.model) == 1);
    for (const size_t chunk : {4, 53}) {
      CAPTURE(chunk);
      Session session(golden.model, 512);
      check_close(eval_in_chunks(session, golden.input_ids, chunk), golden.logits.data(), 0);
    }
    std::vector<int32_t> ids(golden.greedy_ids.begin(), golden.greedy_ids.begin() + 20);
    Session session(golden.model, 512);
    session.eval(ids, nullptr);
    while (ids.size() < golden.greedy_ids.size()) {
      ids.push_back(best(session.logits()));
      session.eval({&ids.back(), 1}, nullptr);
    }
    CHECK(ids == golden.greedy_ids);
  }
  CHECK(split >= 20);
}

TEST_CASE("each device runs its own layers", "[opencl][split]") {
  if (!has_opencl()) return;
  const Golden golden = load_golden("qwen3", first_on_opencl(1));
  const Model& model = *golden.model;
  REQUIRE(model.front() != nullptr);
  CHECK(model.front()->blocks == 2);  // attention and an MLP
  CHECK(std::string_view(model.device().name()) == "cpu");
  CHECK(std::string_view(model.front()->device->name()) == "opencl");
  CHECK_THAT(model.level(), Catch::Contains("the first layer on opencl"));
  for (size_t u = 0; u < model.units().size(); ++u) {
    const bool there = model.front()->weights[u].view.data != nullptr;
    CHECK(there ==
          (model.units()[u].block < 2 || model.units()[u].matrix == model.spec().embedding));
  }
  auto& device = dynamic_cast<OpenClDevice&>(*model.front()->device);
  Session session(golden.model, 512);
  const int64_t before = device.launches();
  session.eval(std::span(golden.input_ids).first(3), nullptr);
  CHECK(device.launches() > before);
}

TEST_CASE("no layers are the CPU's, and all are the device's", "[opencl][split]") {
  if (!has_opencl()) return;
  const Golden none = load_golden("qwen3", first_on_opencl(0));
  CHECK(none.model->front() == nullptr);
  CHECK(std::string_view(none.model->device().name()) == "cpu");
  int64_t layers = 0;
  for (const LinearSpec& unit : none.model->units())
    layers = std::max(layers, layer_of(unit.name).value_or(-1) + 1);
  CHECK(load_golden("qwen3", first_on_opencl(layers - 1)).model->front() != nullptr);
  for (const int64_t many : {layers, layers + 1, int64_t{1000}}) {
    const Golden all = load_golden("qwen3", first_on_opencl(many));
    CHECK(all.model->front() == nullptr);
    CHECK(std::string_view(all.model->device().name()) == "opencl");
  }
  ModelOptions wrong{.threads = 1};
  wrong.gpu_layers = 1;
  CHECK_THROWS_WITH(load_golden("qwen3", wrong), Catch::Contains("--backend other than cpu"));
  CHECK_THROWS_WITH(load_golden("qwen3", first_on_opencl(-1)), Catch::Contains("0 or more"));
  // Nothing runs on a device, but what names it is looked at.
  ModelOptions absent = first_on_opencl(0);
  absent.device_index = 99;
  CHECK_THROWS_WITH(load_golden("qwen3", absent), Catch::Contains("no device 99"));
  ::setenv("KLENS_OPENCL_CHECKSUM", "yes", 1);
  CHECK_THROWS_WITH(load_golden("qwen3", first_on_opencl(0)), Catch::Contains("on or off"));
  ::unsetenv("KLENS_OPENCL_CHECKSUM");
}

TEST_CASE("sessions over two devices are forked, saved, taken back and fed together",
          "[opencl][split]") {
  if (!has_opencl()) return;
  for (const char* name : {"jamba", "mamba2", "mistral_window", "zamba2", "qwen3_next"}) {
    CAPTURE(name);
    const Golden golden = split_golden(name);
    REQUIRE(golden.model->front() != nullptr);
    const std::span<const int32_t> ids(golden.input_ids);
    const TemporaryFolder folder;
    Session session(golden.model, 512);
    session.eval(ids.first(20), nullptr);
    Session fork(session), restored(golden.model, 512);
    session.checkpoint();
    session.save(folder / "session");
    restored.load(folder / "session");
    CHECK(std::ranges::equal(restored.logits(), session.logits()));
    session.eval(ids.subspan(20), nullptr);
    const std::vector<float> after(session.logits().begin(), session.logits().end());
    restored.eval(ids.subspan(20), nullptr);
    fork.eval(ids.subspan(20), nullptr);
    CHECK(std::ranges::equal(restored.logits(), after));
    CHECK(std::ranges::equal(fork.logits(), after));
    // Back to the checkpoint, that of the file too.
    for (Session* one : {&session, &restored}) {
      CHECK(one->rewind(20) == 20);
      one->eval(ids.subspan(20), nullptr);
      CHECK(std::ranges::equal(one->logits(), after));
    }

    // Of another division it is not.
    for (const ModelOptions& other : {on_opencl(), ModelOptions{.threads = 2}}) {
      Session wrong(load_golden(name, other).model, 512);
      CHECK_THROWS_WITH(
          wrong.load(folder / "session"),
          Catch::Contains("was saved on opencl for the first ") && Catch::Contains("--gpu-layers"));
    }

    check_in_company(golden);
  }
}

TEST_CASE("what runs on one device alone refuses two", "[opencl][split]") {
  if (!has_opencl()) return;
  const Golden golden = split_golden("qwen3");
  Session session(golden.model, 512);
  std::vector<float> logits(2 * static_cast<size_t>(golden.model->spec().vocab));
  CHECK_THROWS_WITH(session.eval_drafts(std::span(golden.input_ids).first(2), logits.data()),
                    Catch::Contains("on the CPU alone"));
  CHECK_THROWS_WITH(golden.model->check_whole("a profile"),
                    Catch::Contains("a profile") && Catch::Contains("--gpu-layers"));
  const std::vector<Weight> others = golden.model->weights();
  SequenceState state = golden.model->initial_state();
  const Sequence sequence{.state = &state, .row = 0, .tokens = 2, .position = 0, .horizon = 2};
  golden.model->device().run([&](Lane& lane) {
    CHECK_THROWS_WITH(golden.model->run({.ids = std::span(golden.input_ids).first(2),
                                         .sequences = {&sequence, 1},
                                         .weights = others},
                                        lane.take(2, golden.model->spec().d_model), lane),
                      Catch::Contains("runs on one device"));
  });
}

TEST_CASE("bench tells of both devices", "[opencl][split]") {
  if (!has_opencl()) return;
  const Golden golden = split_golden("mamba2");
  Progress progress(nullptr);
  const BenchReport report =
      bench(golden.model, {.prompt = 9, .generate = 3, .repetitions = 1}, progress);
  for (const BenchTest& test : report.tests) {
    CHECK_FALSE(test.kernels.empty());
    double all = 0;
    bool there = false, here = false;
    for (const auto& [step, share] : test.shares) {
      all += share;
      there = there || (step == "opencl" && share > 0);
      here = here || (step == "linear" && share > 0);
    }
    CHECK(there);
    CHECK(here);
    CHECK(all == Approx(1).margin(0.05));
  }
}

}  // namespace klens
