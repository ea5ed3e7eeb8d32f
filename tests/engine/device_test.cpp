// The floor under the blocks: a device that is not the CPU, the one pass through a model, memory.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <set>
#include <thread>

#include "base/error.h"
#include "engine/cpu/cpu_device.h"
#include "engine/jobs/profile_job.h"
#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "tests/engine/null_device.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

std::shared_ptr<const Model> on_null_device(const std::string& golden) {
  return std::make_shared<const Model>(open_checkpoint(data_path("goldens/" + golden), true),
                                       ModelOptions{.device = &kNullDevice});
}

std::vector<float> logits_after(const std::shared_ptr<const Model>& model,
                                std::span<const int32_t> ids) {
  Session session(model, 512);
  std::vector<float> logits(ids.size() * static_cast<size_t>(model->spec().vocab));
  session.eval(ids, logits.data());
  return logits;
}

// One that takes no weights.
class RefusingDevice final : public NullDevice {
 public:
  Adopted adopt(const WeightView&) override {
    throw Error(ErrorKind::kUnsupported, "backend null: takes none; use --backend cpu");
  }
};
constexpr DeviceEntry kRefusingDevice = {"refusing", [](int, int) -> std::unique_ptr<Device> {
                                           return std::make_unique<RefusingDevice>();
                                         }};

}  // namespace

TEST_CASE("what a device refuses is told with the file and the matrix", "[device]") {
  const std::string path = data_path("goldens/llama");
  CHECK_THROWS_WITH(Model(open_checkpoint(path, true), {.device = &kRefusingDevice}),
                    Catch::Contains(path) && Catch::Contains("layers.0.self_attn.q_proj") &&
                        Catch::Contains("--backend cpu"));
}

TEST_CASE("every architecture runs on a device that only counts", "[device]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const auto model = on_null_device(name);
  Counts& counts = static_cast<NullDevice&>(model->device()).counts;
  Session session(model, 512);
  const std::vector<int32_t> ids(9, 1);
  session.eval(ids, nullptr);
  CHECK(session.logits()[0] == kNullValue);
  counts = {};
  session.eval({ids.data(), 1}, nullptr);
  std::cout << std::left << std::setw(24) << name << std::right << std::setw(4) << counts.all()
            << " operations a token on " << model->blocks() << " blocks, " << counts.floats
            << " floats written:";
  for (const auto& [operation, count] : counts.operations)
    std::cout << " " << operation << " " << count;
  std::cout << "\n";
  CHECK(counts.operations.at("embed") == 1);
  CHECK(counts.operations.at("norm") >= model->blocks() + 1);
  CHECK(counts.all() >= 5 * model->blocks());

  // And students, which begin at their units with what a pass kept.
  Progress progress(nullptr);
  ProfileOptions options;
  options.ctx = 8;
  options.windows = 1;
  options.formats = "int8";
  options.metrics = "kl";
  CHECK(run_profile(*model, nullptr, options, progress, go_on).profile.units.size() ==
        model->units().size());
}

TEST_CASE("rows are cut, not read", "[device]") {
  const Rows all(4096, 5, 12);
  const Rows part = all.columns(4, 6).rows(2, 3);
  CHECK(part.address() == 4096 + 4 * (2 * 12 + 4));
  CHECK(part.count() == 3);
  CHECK(part.width() == 6);
  CHECK(part.stride() == 12);
  CHECK(Rows().none());
}

// A prefix of a model with a shared block: the rows of some tokens' embeddings before a text are
// those tokens before it.
TEST_CASE("a prefix goes through shared blocks too", "[device]") {
  for (const char* golden : {"zamba", "zamba2", "mamba2", "llama"}) {
    CAPTURE(golden);
    const std::vector<int32_t> before = {3, 1, 4, 1, 5}, text = {9, 2, 6, 5, 3, 5, 8};
    std::vector<int32_t> both = before;
    both.insert(both.end(), text.begin(), text.end());
    const auto plain = open_model(data_path(std::string("goldens/") + golden));
    const int64_t d_model = plain->spec().d_model, vocab = plain->spec().vocab;

    Checkpoint checkpoint = open_checkpoint(data_path(std::string("goldens/") + golden), true);
    std::vector<float> rows(before.size() * static_cast<size_t>(d_model));
    plain->device().run([&](Lane& lane) {
      const Rows x = lane.take(static_cast<int64_t>(before.size()), d_model);
      lane.embed(units_of(plain->spec().matrices[plain->spec().embedding], plain->weights()),
                 before, plain->spec().embedding_scale, x);
      std::copy_n(lane.host(x), rows.size(), rows.begin());
    });
    checkpoint.spec.prefix = checkpoint.spec.smalls.size();
    checkpoint.spec.smalls.push_back({"prefix", {static_cast<int64_t>(before.size()), d_model}});
    checkpoint.small["prefix"] = {.dtype = DType::kF32,
                                  .shape = {static_cast<int64_t>(before.size()), d_model},
                                  .bytes = std::as_bytes(std::span(rows))};
    const auto prefixed = std::make_shared<const Model>(
        std::move(checkpoint), ModelOptions{.threads = 2, .activations = Activations::kInt8});

    // What comes after is read in one part by both.
    Session session(plain, 512);
    session.eval(before, nullptr);
    std::vector<float> want(text.size() * static_cast<size_t>(vocab));
    session.eval(text, want.data());
    CHECK(logits_after(prefixed, text) == want);
  }
}

TEST_CASE("a window's rows stay where they are", "[device]") {
  CpuDevice device(1);
  const KvCacheSpec spec{.kv_heads = 1,
                         .k_dim = 1,
                         .v_dim = 1,
                         .reach = 100,
                         .pinned = 3,
                         .first_block = 0,
                         .last_block = 0};
  KvCache cache(device, spec, KvType::kF32);
  cache.extend(0, 300);
  const uint64_t memory = cache.k().data.address();
  int64_t most = 0;
  for (int64_t position = 300; position < 2000; ++position) {
    cache.extend(position, 1);
    // Every position that a query at `position` sees has a row, and no two have the same.
    std::set<int64_t> rows;
    int64_t held = 0;
    for (const KvCache::Run& run : cache.held())
      for (int64_t i = 0; i < run.rows; ++i) {
        rows.insert(run.row + i);
        held += run.position + i < 3 || run.position + i >= position - 100;
      }
    CHECK(held == 3 + 101);
    most = std::max(most, static_cast<int64_t>(rows.size()));
    for (const KvCache::Run& run : cache.runs(position - 100, 101))
      for (int64_t i = 0; i < run.rows; ++i) CHECK(rows.count(run.row + i) == 1);
  }
  CHECK(cache.k().data.address() == memory);
  CHECK(most <= 300);
  CHECK(cache.reaches_back_to(1999));
  CHECK_FALSE(cache.reaches_back_to(1000));
  const KvCache fork = cache;
  CHECK(fork.saved().k == cache.saved().k);
  KvCache restored(device, spec, KvType::kF32);
  REQUIRE(restored.restore(cache.saved()));
  CHECK(restored.saved().k == cache.saved().k);
}

// A model, its device and a prefix cache are shared; sessions are their threads' own.
TEST_CASE("threads feed sessions of one model at once", "[device][session]") {
  const std::string name = GENERATE("mamba2", "hymba", "jamba");
  CAPTURE(name);
  const auto model = open_model(data_path("goldens/" + name));
  std::vector<int32_t> ids(70);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 97);
  Session alone(model, 64);
  alone.prompt(ids);
  PrefixCache cache(model, size_t{1} << 24);
  std::atomic<int> same{0};
  const auto work = [&] {
    Session session(model, 64), other(model, 64);
    cache.prompt(session, std::span(ids).first(64));  // where a cut does not show
    cache.prompt(session, ids);
    const std::vector<Feed> feeds = {{&other, std::span(ids).first(3)}};
    feed_round(feeds);
    same += std::ranges::equal(session.logits(), alone.logits());
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  CHECK(same == 3);
}

// What one session breaks, others that share its pass do not feel.
TEST_CASE("a round feeds what it has room for, and tells of each session", "[device][session]") {
  const auto model = open_model(data_path("goldens/mamba2"));
  std::vector<int32_t> ids(150);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 97);
  Session a(model, 64), b(model, 64), alone_a(model, 64), alone_b(model, 64);
  alone_a.eval(ids, nullptr);
  alone_b.eval({ids.data(), 1}, nullptr);
  std::vector<Feed> feeds = {{&a, ids}, {&b, std::span(ids).first(1)}};
  int rounds = 0;
  while (!feeds[0].ids.empty() || !feeds[1].ids.empty()) {
    const std::vector<Fed> fed = feed_round(feeds);
    for (size_t i = 0; i < feeds.size(); ++i) {
      CHECK_FALSE(fed[i].error);
      feeds[i].ids = feeds[i].ids.subspan(static_cast<size_t>(fed[i].tokens));
    }
    ++rounds;
    if (!feeds[0].ids.empty()) CHECK(a.logits().empty());
  }
  CHECK(rounds == 3);
  CHECK(std::ranges::equal(a.logits(), alone_a.logits()));
  CHECK(std::ranges::equal(b.logits(), alone_b.logits()));
  CHECK(feed_round(feeds)[0].tokens == 0);
}

TEST_CASE("logits of one session that are not finite reset that one alone", "[device][session]") {
  // One token's embedding is broken; who is not fed it is sound.
  Checkpoint checkpoint = open_checkpoint(data_path("goldens/mistral"), true);
  REQUIRE_FALSE(checkpoint.spec.tied());
  const MatrixSpec& table = checkpoint.spec.matrices[checkpoint.spec.embedding];
  StoredUnit& stored = checkpoint.units.at(table.name);
  REQUIRE(stored.view.layout == Layout::kRowsF32);
  const auto* from = static_cast<const float*>(stored.view.data);
  std::vector<float> weights(from, from + table.rows * table.cols);
  constexpr int32_t kBroken = 7;
  std::fill_n(weights.begin() + kBroken * table.cols, table.cols, INFINITY);
  stored.view.data = weights.data();
  const auto model =
      std::make_shared<const Model>(std::move(checkpoint), ModelOptions{.threads = 1});
  Session good(model, 512), bad(model, 512);
  const std::vector<int32_t> fine = {1, 2, 3}, broken = {1, kBroken, 3};
  const std::vector<Feed> feeds = {{&good, fine}, {&bad, broken}};
  const std::vector<Fed> fed = feed_round(feeds);
  CHECK_FALSE(fed[0].error);
  CHECK(good.position() == 3);
  CHECK_FALSE(good.logits().empty());
  REQUIRE(fed[1].error);
  CHECK(fed[1].error->kind() == ErrorKind::kBadFile);
  CHECK(bad.position() == 0);
  Session again(model, 512);
  again.eval(fine, nullptr);
  CHECK(std::ranges::equal(again.logits(), good.logits()));
  CHECK_THROWS_WITH(bad.eval(broken, nullptr), Catch::Contains("not finite"));
}

}  // namespace klens
