// Quantised GGUF files run, and baked, as they are.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>

#include "engine/jobs/quantize_job.h"
#include "engine/session.h"
#include "loaders/gguf/dequantize.h"
#include "loaders/gguf/mapping.h"
#include "loaders/gguf/recipe_rows.h"
#include "loaders/mapped_file.h"
#include "loaders/profile_json.h"
#include "loaders/tokenizer/tokenizer.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

constexpr const char* kQuantised[] = {"wiki-llama.Q8_0",   "wiki-llama.Q4_0", "wiki-llama.Q4_K_M",
                                      "wiki-llama.Q5_K_M", "wiki-llama.Q6_K", "wiki-mamba.Q4_K_M"};

std::vector<float> stored_logits(std::shared_ptr<const Model> model, std::span<const int32_t> ids) {
  Session session(std::move(model), 512);
  std::vector<float> logits(ids.size() * static_cast<size_t>(session.model().spec().vocab));
  session.eval(ids, logits.data());
  return logits;
}

// The model in FP32, each unit dequantised as the file's types say.
std::shared_ptr<const Model> dequantised(const std::string& path) {
  Checkpoint checkpoint = open_checkpoint(path, false);
  const GgufFile file = GgufFile::open(path);
  GgufMapping map = map_gguf(file);
  for (const LinearSpec& spec : checkpoint.spec.units)
    for (const TensorRecipe& recipe : map.recipes()) {
      if (recipe.name != spec.tensor) continue;
      const RecipeRows rows(recipe);
      const auto cols = static_cast<size_t>(spec.cols);
      AlignedBuffer values(static_cast<size_t>(spec.rows) * cols * sizeof(float));
      auto* to = reinterpret_cast<float*>(values.data());
      for (int64_t row = 0; row < spec.rows; ++row) {
        const RecipeRows::Row from = rows.at(spec.first_row + row);
        dequantize_row(from.part->tensor->type, from.bytes.data(), spec.cols,
                       to + static_cast<size_t>(row) * cols);
      }
      StoredUnit& unit = checkpoint.units.at(spec.name);
      unit.view = {.layout = Layout::kRowsF32, .rows = spec.rows, .cols = spec.cols, .data = to};
      unit.format = nullptr;
      unit.bytes = values.size();
      checkpoint.copies.push_back(std::move(values));
    }
  return std::make_shared<const Model>(
      std::move(checkpoint),
      ModelOptions{.threads = 2, .activations = Activations::kF32, .kv = KvType::kF32});
}

std::vector<double> log_probabilities(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  std::vector<double> result;
  for (const float logit : logits) result.push_back(double{logit} - largest - std::log(sum));
  return result;
}

// Mean KL divergence of b from a, in nats per position.
double divergence(std::span<const float> a, std::span<const float> b, size_t vocab) {
  double sum = 0;
  for (size_t at = 0; at < a.size(); at += vocab) {
    const auto p = log_probabilities(a.subspan(at, vocab)),
               q = log_probabilities(b.subspan(at, vocab));
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  }
  return sum / static_cast<double>(a.size() / vocab);
}

QuantizeReport keep(const Model& model, const std::string& out, const std::string& types = "") {
  QuantizeOptions options;
  options.keep = true;
  options.tensor_types = types;
  options.profile.ctx = 16;
  Progress progress(nullptr);
  return quantize(model, nullptr, out, options, progress);
}

void write_small(const std::string& path) {
  std::ofstream(path, std::ios::binary) << small_quantised_gguf_llama().bytes();
}

}  // namespace

TEST_CASE("a quantised GGUF gives the logits of its dequantised weights", "[gguf][shared]") {
  const std::string text_path = shared_path("data/wikitext2.test.raw.txt");
  if (text_path.empty()) return;
  const std::string text = read_text(text_path).substr(0, 2500);
  for (const char* name : kQuantised) {
    const std::string path = shared_path("goldens/gguf/" + std::string(name) + ".gguf");
    if (path.empty()) continue;
    CAPTURE(name);
    const auto exact = dequantised(path);
    const auto stored = std::make_shared<const Model>(
        open_checkpoint(path, false),
        ModelOptions{.threads = 2, .activations = Activations::kF32, .kv = KvType::kF32});
    const auto tokenizer = Tokenizer::from_json(exact->checkpoint().texts.tokenizer, "tokenizer");
    std::vector<int32_t> ids = tokenizer.encode(text, true);
    ids.resize(std::min<size_t>(ids.size(), 500));
    REQUIRE(ids.size() > 300);
    const auto vocab = static_cast<size_t>(exact->spec().vocab);
    const std::vector<float> wanted = stored_logits(exact, ids);
    const double kl = divergence(wanted, stored_logits(stored, ids), vocab);
    const double rounded = divergence(wanted, stored_logits(open_model(path), ids), vocab);
    std::cout << name << ": KL from its dequantised weights " << kl << ", with INT8 activations "
              << rounded << "\n";
    CHECK(kl < 1e-5);
    CHECK(rounded < 0.02);
  }
}

TEST_CASE("what a GGUF holds is a candidate that loses nothing, and nothing larger is one",
          "[gguf][quantize]") {
  const TemporaryFolder folder;
  write_small(folder / "a.gguf");
  const auto model = open_model(folder / "a.gguf");
  const auto held = std::ranges::find_if(model->checkpoint().units, [](const auto& unit) {
    return unit.second.format == find_format("int4ag32");
  });
  REQUIRE(held != model->checkpoint().units.end());
  QuantizeOptions options;
  options.request.budget.file_bytes = 1 << 30;
  options.profile.ctx = 16;
  options.profile.windows = 1;
  options.profile.formats = "int8,int4ag32,int2g32";
  Progress progress(nullptr);
  const auto choices = [&] {
    const auto report = quantize(*model, nullptr, folder / "b.klens", options, progress);
    for (const Unit& unit : report.profile->units) {
      if (unit.name != held->first) continue;
      std::vector<Choice> all;
      for (const Candidate& candidate : unit.candidates) {
        all.push_back(candidate.choice);
        if (candidate.choice.quantizer == kStored) CHECK(candidate.kl == 0.0);
      }
      return all;
    }
    return std::vector<Choice>();
  };
  const Choice stored{"int4ag32", kStored}, smaller{"int2g32", kUsualQuantizer.name},
      fine{"int2g32", kUsualQuantizer.name, kFineActivationBits};
  CHECK(choices() == std::vector<Choice>{{kBaseFormat.name}, stored, smaller, fine});
  // Who asks for the format that it has gets what it is.
  options.tensor_types = "^" + held->first + "$=int4ag32";
  CHECK(choices() == std::vector<Choice>{{kBaseFormat.name}, stored, smaller, fine});
  const Checkpoint b = open_checkpoint(folder / "b.klens", true);
  const StoredUnit &was = held->second, &is = b.units.at(held->first);
  CHECK(is.choice == stored);
  CHECK(std::memcmp(is.view.data, was.view.data,
                    tiles_bytes(was.view.layout, was.view.rows, was.view.cols)) == 0);
  // And who asks for more gets that.
  options.tensor_types = "^" + held->first + "$=int8";
  CHECK(std::ranges::count(choices(), Choice{"int8", kUsualQuantizer.name}) == 1);
  CHECK(open_checkpoint(folder / "b.klens", true).units.at(held->first).format ==
        find_format("int8"));
}

TEST_CASE("a GGUF that is kept is baked bit for bit", "[gguf][quantize][shared]") {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 70; ++i) ids.push_back((i * 1009 + 7) % 4096);
  for (const char* name : kQuantised) {
    const std::string path = shared_path("goldens/gguf/" + std::string(name) + ".gguf");
    if (path.empty()) continue;
    CAPTURE(name);
    const TemporaryFolder folder;
    const auto model = open_model(path);
    const QuantizeReport report = keep(*model, folder / "kept.klens");
    CHECK(!report.evaluation);  // nothing is lost that could be measured
    const auto kept = open_model(folder / "kept.klens");
    for (const LinearSpec& spec : model->units()) {
      const StoredUnit& from = model->checkpoint().units.at(spec.name);
      const StoredUnit& to = kept->checkpoint().units.at(spec.name);
      CAPTURE(spec.name);
      if (from.format == nullptr) {
        CHECK(to.format == &kBaseFormat);
        continue;
      }
      CHECK(to.format == from.format);
      CHECK(to.choice->quantizer == kStored);
      REQUIRE(to.bytes == from.bytes);
      CHECK(std::memcmp(to.view.data, from.view.data, from.bytes) == 0);
    }
    CHECK((stored_logits(kept, ids) == stored_logits(model, ids)));
    // And again, of what was baked.
    keep(*kept, folder / "again.klens");
    CHECK((stored_logits(open_model(folder / "again.klens"), ids) == stored_logits(kept, ids)));
  }
}

TEST_CASE("what is kept can be changed unit by unit, and not by a plan", "[gguf][quantize]") {
  const TemporaryFolder folder;
  write_small(folder / "small.gguf");
  const auto model = open_model(folder / "small.gguf");
  const std::string down = "model.layers.0.mlp.down_proj", up = "model.layers.0.mlp.up_proj";
  REQUIRE(model->checkpoint().units.at(down).format != nullptr);
  CHECK(keep(*model, folder / "kept.klens").plan.units.at(down).quantizer == kStored);
  const QuantizeReport changed =
      keep(*model, folder / "changed.klens", down + "=int8\n" + up + "=int8g32\n");
  CHECK(changed.plan.units.at(down).format == "int8");
  CHECK(changed.plan.units.at(up).format == "int8g32");
  CHECK(changed.plan.units.at("lm_head").format == kBaseFormat.name);
  CHECK(changed.evaluation);

  const auto refused = [&](const auto& change) {
    QuantizeOptions options;
    options.keep = true;
    change(options);
    Progress progress(nullptr);
    CHECK_THROWS_WITH(quantize(*model, nullptr, folder / "none.klens", options, progress),
                      Catch::Contains("give one of both"));
    CHECK(!std::filesystem::exists(folder / "none.klens"));
  };
  refused([](QuantizeOptions& o) { o.request.budget.bpw = 5; });
  refused([](QuantizeOptions& o) { o.request.budget.file_bytes = 1 << 20; });
  refused([](QuantizeOptions& o) { o.request.budget.max_kl = 1; });
  refused([](QuantizeOptions& o) { o.request.uniform_format = "int8"; });
  refused([&](QuantizeOptions& o) { o.plan_json = plan_to_json(changed.plan); });
}

TEST_CASE("a model that is no GGUF can be kept as well", "[quantize]") {
  const auto model = open_model(data_path("goldens/mamba"));
  const TemporaryFolder folder;
  const QuantizeReport report = keep(*model, folder / "a.klens");
  for (const auto& [name, choice] : report.plan.units) CHECK(choice == Choice{kBaseFormat.name});
}

}  // namespace klens
