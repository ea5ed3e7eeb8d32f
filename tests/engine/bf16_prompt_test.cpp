// Prompts of checkpoints with 16-bit weights multiply in BF16 where that is faster, and nothing
// else does.
#include <catch2/catch.hpp>
#include <cmath>
#include <iostream>

#include "engine/session.h"
#include "engine/walk.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

constexpr const char* kModels[] = {
    "bamba", "falcon_h1", "falcon_mamba", "granite",    "granite_moe",    "jamba", "llama",
    "mamba", "mamba2",    "nemotron_h",   "llama_bias", "nemotron_h_moe", "qwen2", "qwen3"};

std::shared_ptr<const Model> open_gguf(const std::string& name, Activations activations) {
  return std::make_shared<const Model>(
      open_checkpoint(data_path("gguf/" + name + ".gguf"), true),
      ModelOptions{.threads = 2, .activations = activations, .kv = KvType::kF16});
}

std::vector<int32_t> some_ids(const Model& model, size_t count, int32_t first = 5) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i)
    ids[i] = (first + 7 * static_cast<int32_t>(i)) % static_cast<int32_t>(model.spec().vocab);
  return ids;
}

using Logits = std::vector<float>;

Logits last_of(const Session& session) {
  return {session.logits().begin(), session.logits().end()};
}

// Read in parts that end at these places, and at the end.
Logits read(const std::shared_ptr<const Model>& model, std::span<const int32_t> ids,
            std::initializer_list<size_t> stops) {
  Session session(model, 512);
  size_t at = 0;
  for (const size_t stop : stops) {
    session.eval(ids.subspan(at, stop - at), nullptr);
    at = stop;
  }
  if (at < ids.size()) session.eval(ids.subspan(at), nullptr);
  return last_of(session);
}

double kl(const Logits& p, const Logits& q) {
  const auto log_sum = [](const Logits& z) {
    double sum = 0;
    for (const float value : z) sum += std::exp(double{value});
    return std::log(sum);
  };
  const double lp = log_sum(p), lq = log_sum(q);
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) total += std::exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
  return total;
}

// What a job sees: the logits after some ids.
Logits walk(const Model& model, std::span<const int32_t> ids) {
  Logits logits;
  model.device().run([&](Lane& lane) {
    Walk walk(model, static_cast<int64_t>(ids.size()));
    const Rows x = walk.feed(ids, lane);
    const Rows z = lane.take(1, model.spec().vocab);
    model.head(x.rows(x.count() - 1, 1), z, model.weights(), lane);
    const float* values = lane.host(z);
    logits.assign(values, values + model.spec().vocab);
  });
  return logits;
}

}  // namespace

TEST_CASE("BF16 prompts: cuts at whole blocks, and company, do not show", "[bf16]") {
  const std::string name = GENERATE(from_range(std::begin(kModels), std::end(kModels)));
  CAPTURE(name);
  const auto model = open_gguf(name, Activations::kInt8);
  const std::vector<int32_t> ids = some_ids(*model, 193);
  const std::span<const int32_t> all(ids);
  for (const size_t count : {193, 192, 130, 65}) {
    CAPTURE(count);
    const Logits whole = read(model, all.first(count), {});
    CHECK(read(model, all.first(count), {64}) == whole);
    if (count > 128) CHECK(read(model, all.first(count), {64, 128}) == whole);
    Session prompted(model, 64);
    prompted.prompt(all.first(count));
    CHECK(last_of(prompted) == whole);
  }

  // Beside tokens that are decoded and another prompt, each is what it is alone.
  const std::vector<int32_t> other = some_ids(*model, 70, 11);
  Session decoding(model, 512), prompt(model, 512), second(model, 512);
  decoding.eval(all.first(20), nullptr);
  Session alone(decoding);
  alone.eval(all.subspan(20, 1), nullptr);
  const Feed feeds[] = {{&prompt, all.first(130), nullptr},
                        {&decoding, all.subspan(20, 1), nullptr},
                        {&second, other, nullptr}};
  eval_together(feeds);
  CHECK(last_of(decoding) == last_of(alone));
  CHECK(last_of(prompt) == read(model, all.first(130), {}));
  CHECK(last_of(second) == read(model, other, {}));
}

TEST_CASE("BF16 prompts: what measures, and --activations f32, has exact products", "[bf16]") {
  const std::string name = GENERATE(from_range(std::begin(kModels), std::end(kModels)));
  CAPTURE(name);
  const auto usual = open_gguf(name, Activations::kInt8),
             exact = open_gguf(name, Activations::kF32),
             rounded = open_gguf(name, Activations::kBf16);
  const std::vector<int32_t> ids = some_ids(*usual, 100);
  CHECK(&exact->prompt_weights() == &exact->weights());
  CHECK(&rounded->prompt_weights() == &rounded->weights());
  const Logits want = walk(*exact, ids);
  CHECK(walk(*usual, ids) == want);
  CHECK(read(exact, ids, {}) == want);
  // Tokens one by one are decoded.
  Session a(usual, 512), b(exact, 512);
  for (size_t i = 0; i < 8; ++i) {
    a.eval({&ids[i], 1}, nullptr);
    b.eval({&ids[i], 1}, nullptr);
  }
  CHECK(last_of(a) == last_of(b));

  const Logits prompt = read(usual, ids, {});
  if (&usual->prompt_weights() == &usual->weights()) {
    std::cout << "skip BF16 prompts: this CPU is not faster by them\n";
    CHECK(prompt == want);
    return;
  }
  CHECK(prompt != want);
  const double lost = kl(want, prompt);
  std::cout << name << ": products of BF16 cost " << lost << " nats\n";
  CHECK(lost < 0.05);
}

}  // namespace klens
