// Embedding vectors: what the head is multiplied by, pooled.
#include "engine/embedding.h"

#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "tests/engine/golden.h"

namespace klens {
namespace {

using namespace klens::testing;
using Ids = std::vector<int32_t>;
using Vectors = std::vector<std::vector<float>>;

Vectors vectors_of(const std::shared_ptr<const Model>& model, const std::vector<Ids>& texts,
                   const EmbedOptions& options = {}, const ProgressFn& told = nullptr) {
  const std::vector<std::span<const int32_t>> spans(texts.begin(), texts.end());
  Progress progress(told, std::chrono::milliseconds(0));
  const std::vector<float> all = embed(model, spans, options, progress);
  const auto width = static_cast<std::ptrdiff_t>(model->spec().d_model);
  Vectors vectors;
  for (auto at = all.begin(); at != all.end(); at += width) vectors.emplace_back(at, at + width);
  return vectors;
}

Ids random_ids(const Model& model, size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Ids ids(count);
  for (int32_t& id : ids)
    id = static_cast<int32_t>(random() % static_cast<unsigned>(model.spec().vocab));
  return ids;
}

double norm(const std::vector<float>& x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

// A checkpoint's head, which goldens have in FP32: [vocab][d_model].
std::vector<float> head_of(const Model& model) {
  const MatrixSpec& head = model.spec().matrices[model.spec().head];
  std::vector<float> weights;
  for (const Weight& unit : units_of(head, model.weights())) {
    REQUIRE(unit.view.layout == Layout::kRowsF32);
    const auto* from = static_cast<const float*>(unit.view.data);
    weights.insert(weights.end(), from, from + unit.view.rows * unit.view.cols);
  }
  return weights;
}

}  // namespace

TEST_CASE("the head times the last vector is the logits", "[embedding][golden]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const Golden golden = load_golden(name);
  const Model& model = *golden.model;
  Session session(golden.model, 512);
  session.eval(golden.input_ids, nullptr);
  const std::vector<float> vector = vectors_of(golden.model, {golden.input_ids}).front();
  const std::vector<float> head = head_of(model);
  const auto width = static_cast<size_t>(model.spec().d_model);
  REQUIRE(head.size() == width * session.logits().size());
  for (size_t id = 0; id < session.logits().size(); ++id) {
    double logit = 0, size = 0;
    for (size_t i = 0; i < width; ++i) {
      const double product = double{head[id * width + i]} * vector[i];
      logit += product;
      size += std::fabs(product);
    }
    const double scale = model.spec().logit_scale;
    const double bound = (static_cast<double>(width) + 4) * 0x1p-24 * size * std::fabs(scale);
    REQUIRE(std::fabs(session.logits()[id] - logit * scale) <= bound);
  }
}

TEST_CASE("texts that share passes get the bits that each gets alone", "[embedding][session]") {
  const std::string name = GENERATE("mamba", "mamba2", "llama", "hymba", "zamba2", "qwen3_next");
  const Pooling pooling = GENERATE(Pooling::kLast, Pooling::kMean);
  const int64_t batch = GENERATE(64, 512);
  CAPTURE(name, batch, static_cast<int>(pooling));
  const auto model = load_golden(name).model;
  std::vector<Ids> texts;
  for (const size_t length : {1, 65, 2, 130, 64, 1, 7, 300, 63, 129})
    texts.push_back(random_ids(*model, length, static_cast<unsigned>(texts.size())));
  const EmbedOptions options{.pooling = pooling, .normalise = false, .batch = batch};
  const Vectors together = vectors_of(model, texts, options);
  REQUIRE(together.size() == texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(i);
    CHECK(vectors_of(model, {texts[i]}, options).front() == together[i]);
  }
  CHECK(together[0] != together[5]);
}

TEST_CASE("the mean is that of the last vectors of all beginnings", "[embedding]") {
  const std::string name = GENERATE("mamba", "llama", "hymba");
  CAPTURE(name);
  const auto model = load_golden(name).model;
  const Ids ids = random_ids(*model, 20, 3);
  std::vector<Ids> beginnings;
  for (size_t count = 1; count <= ids.size(); ++count)
    beginnings.emplace_back(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  const Vectors last = vectors_of(model, beginnings);
  const std::vector<float> mean = vectors_of(model, {ids}, {.pooling = Pooling::kMean}).front();
  for (size_t i = 0; i < mean.size(); ++i) {
    double sum = 0;
    for (const auto& vector : last) sum += double{vector[i]};
    const double want = sum / static_cast<double>(last.size());
    REQUIRE(std::fabs(mean[i] - want) <= 2e-4 * (1 + std::fabs(want)));
  }
}

TEST_CASE("normalised vectors have a norm of one and keep their direction", "[embedding]") {
  const auto model = load_golden("mamba2").model;
  const std::vector<Ids> texts = {random_ids(*model, 9, 1), random_ids(*model, 70, 2)};
  const Pooling pooling = GENERATE(Pooling::kLast, Pooling::kMean);
  const Vectors plain = vectors_of(model, texts, {.pooling = pooling});
  const Vectors unit = vectors_of(model, texts, {.pooling = pooling, .normalise = true});
  for (size_t t = 0; t < texts.size(); ++t) {
    CHECK(std::fabs(norm(unit[t]) - 1) < 1e-6);
    CHECK(std::fabs(norm(plain[t]) - 1) > 1e-3);
    for (size_t i = 0; i < unit[t].size(); ++i)
      REQUIRE(std::fabs(unit[t][i] * norm(plain[t]) - plain[t][i]) <= 1e-6 * norm(plain[t]));
  }
}

TEST_CASE("wrong texts are refused before anything is computed", "[embedding]") {
  const auto model = load_golden("mamba").model;
  CHECK(vectors_of(model, {}).empty());
  const int64_t before = model->block_runs();
  CHECK_THROWS_WITH(vectors_of(model, {{1, 2}, {}, {3}}), "text 2 of 3 has no tokens");
  for (const int32_t bad : {-1, 160, INT32_MAX})
    CHECK_THROWS_WITH(vectors_of(model, {{1, 2}, {3, bad}}),
                      Catch::Contains("outside the vocabulary of 160"));
  CHECK(model->block_runs() == before);
}

TEST_CASE("who is asked to stop stops between passes", "[embedding]") {
  const auto model = load_golden("mamba").model;
  int calls = 0;
  const auto stop_later = [&](const ProgressReport& report) {
    CHECK(report.fraction <= 1);
    return ++calls == 3;
  };
  try {
    vectors_of(model, {random_ids(*model, 1000, 1)}, {.batch = 64}, stop_later);
    FAIL("not stopped");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInterrupted);
  }
  CHECK(calls == 3);
}

TEST_CASE("a hidden state that is not finite is refused", "[embedding]") {
  Checkpoint checkpoint = open_checkpoint(data_path("goldens/mistral"), true);
  const MatrixSpec& table = checkpoint.spec.matrices[checkpoint.spec.embedding];
  StoredUnit& stored = checkpoint.units.at(table.name);
  REQUIRE(stored.view.layout == Layout::kRowsF32);
  const auto* from = static_cast<const float*>(stored.view.data);
  std::vector<float> weights(from, from + table.rows * table.cols);
  std::fill_n(weights.begin() + 7 * table.cols, table.cols, INFINITY);
  stored.view.data = weights.data();
  const auto model =
      std::make_shared<const Model>(std::move(checkpoint), ModelOptions{.threads = 1});
  CHECK(vectors_of(model, {{1, 2, 3}}).size() == 1);
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean})
    CHECK_THROWS_WITH(vectors_of(model, {{1, 2, 3}, {1, 7, 3}}, {.pooling = pooling}),
                      Catch::Contains("hidden states are not finite"));
}

}  // namespace klens
