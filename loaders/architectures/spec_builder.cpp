#include "loaders/architectures/spec_builder.h"

#include <algorithm>
#include <array>

#include "kernels/weights.h"

namespace klens {

SpecBuilder::SpecBuilder(const Config& config, const HasTensor& has, int64_t vocab, int64_t d_model,
                         const std::string& embedding, bool tied)
    : config_(config), has_(has), embedding_(embedding), tied_(tied) {
  spec_.vocab = vocab;
  spec_.d_model = d_model;
  if (!tied)
    spec_.matrices.push_back({.name = embedding,
                              .tensor = embedding + ".weight",
                              .kind = "embedding",
                              .rows = vocab,
                              .cols = d_model,
                              .block = -1,
                              .tensor_shape = {},
                              .cuts = {}});
}

MatrixId SpecBuilder::matrix(const std::string& name, int64_t rows, int64_t cols,
                             const std::string& kind) {
  return matrix({.name = name,
                 .tensor = name + ".weight",
                 .kind = kind.empty() ? name.substr(name.rfind('.') + 1) : kind,
                 .rows = rows,
                 .cols = cols,
                 .tensor_shape = {},
                 .cuts = {}});
}

MatrixId SpecBuilder::matrix(MatrixSpec spec) {
  const auto [known, added] = matrix_ids_.emplace(spec.name, spec_.matrices.size());
  if (!added) return known->second;
  if (spec_.matrices.size() >= kMaxUnits) config_.unsupported("asks for too many weight matrices");
  spec.block = next_block();
  spec_.matrices.push_back(std::move(spec));
  return spec_.matrices.size() - 1;
}

MatrixId SpecBuilder::stacked(const std::string& tensor, int64_t index, int64_t count, int64_t rows,
                              int64_t cols, const std::string& kind) {
  const std::string weight = ".weight";
  const bool ends = tensor.size() > weight.size() &&
                    tensor.compare(tensor.size() - weight.size(), weight.size(), weight) == 0;
  const std::string name = ends ? tensor.substr(0, tensor.size() - weight.size()) : tensor;
  return matrix({.name = name + "." + std::to_string(index),
                 .tensor = tensor,
                 .kind = kind,
                 .rows = rows,
                 .cols = cols,
                 .first_row = index * rows,
                 .tensor_shape = {count, rows, cols},
                 .cuts = {}});
}

void SpecBuilder::cut(MatrixId id, std::span<const int64_t> parts) {
  MatrixSpec& matrix = spec_.matrices[id];
  matrix.cuts.clear();  // of a shared block, each time anew
  int64_t row = 0;
  for (const int64_t rows : parts) {
    row += rows;
    if (row < matrix.rows && row % kTileOutputs == 0) matrix.cuts.push_back(row);
  }
}

SmallId SpecBuilder::small(const std::string& tensor, std::vector<int64_t> shape) {
  const auto [known, added] = small_ids_.emplace(tensor, spec_.smalls.size());
  if (!added) return known->second;
  spec_.smalls.push_back({tensor, std::move(shape)});
  return spec_.smalls.size() - 1;
}

NormSpec SpecBuilder::norm(const std::string& name, int64_t cols, float eps) {
  return {.weight = small(name + ".weight", {cols}), .eps = eps};
}

ProjectionSpec SpecBuilder::projection(const std::string& name, int64_t rows, int64_t cols,
                                       bool bias, const std::string& kind) {
  ProjectionSpec result{
      .matrix = matrix(name, rows, cols, kind), .bias = std::nullopt, .adapter = std::nullopt};
  if (bias) result.bias = small(name + ".bias", {rows});
  return result;
}

ProjectionSpec::Adapter SpecBuilder::adapter(const std::string& list, int64_t rows, int64_t cols,
                                             int64_t rank) {
  const MatrixId down = matrix(list + ".0", rank, cols, "adapter_down");
  return {.down = down, .up = matrix(list + ".1", rows, rank, "adapter_up")};
}

size_t SpecBuilder::cache(KvCacheSpec spec) {
  spec.first_block = spec.last_block = next_block();
  spec_.caches.push_back(spec);
  return spec_.caches.size() - 1;
}

void SpecBuilder::uses_cache(size_t cache) { spec_.caches[cache].last_block = next_block(); }

size_t SpecBuilder::rope(RopeSpec spec) {
  spec_.ropes.push_back(std::move(spec));
  return spec_.ropes.size() - 1;
}

void SpecBuilder::add(BlockSpec block) { spec_.blocks.push_back(std::move(block)); }

// Frequent ids come first in nearly all vocabularies, and rare ones need less precision: these rows
// are a quarter of a small model's bytes. Eighths were measured (bench/RESULTS.md, "Units of
// rows").
void SpecBuilder::cut_by_ids(MatrixId id) {
  constexpr int64_t kLeastIds = 2048;
  const int64_t ids = spec_.matrices[id].rows;
  if (ids < kLeastIds) return;
  const int64_t first = ids / 8 / kTileOutputs * kTileOutputs;
  cut(id, std::array{first, 3 * first});
}

ModelSpec SpecBuilder::finish(const std::string& final_norm, float eps, const std::string& head) {
  spec_.final_norm = norm(final_norm, spec_.d_model, eps);
  spec_.matrices.push_back({.name = "lm_head",
                            .tensor = tied_ ? embedding_ + ".weight" : head,
                            .kind = "head",
                            .rows = spec_.vocab,
                            .cols = spec_.d_model,
                            .block = next_block(),
                            .tensor_shape = {},
                            .cuts = {}});
  spec_.head = spec_.matrices.size() - 1;
  spec_.embedding = tied_ ? spec_.head : 0;
  for (const MatrixId id : {spec_.embedding, spec_.head}) cut_by_ids(id);
  return std::move(spec_);
}

ModelSizes model_sizes(const Config& config, double default_eps) {
  ModelSizes sizes;
  sizes.d_model = config.integer({"hidden_size"}, 1, kMaxWidth);
  sizes.layers = config.integer({"num_hidden_layers"}, 1, kMaxBlocks);
  sizes.vocab = config.integer({"vocab_size"}, 1, kMaxVocab);
  sizes.norm_eps = static_cast<float>(config.number({"rms_norm_eps"}, 0, 1, default_eps));
  return sizes;
}

float multiplier(const Config& config, const char* key) {
  return static_cast<float>(config.number({key}, 0, 1e6, 1));
}

std::vector<float> multipliers(const Config& config, const char* key, size_t count) {
  std::vector<float> factors(count, 1);
  const std::vector<double> given = config.numbers(key);
  if (given.empty()) return factors;
  if (given.size() != count)
    config.fail(std::string(key) + " holds " + std::to_string(given.size()) + " numbers, not " +
                std::to_string(count));
  for (size_t i = 0; i < count; ++i) {
    if (!(given[i] >= 0 && given[i] <= 1e6))
      config.fail(std::string(key) + " holds a number that is not from 0 to 1e6");
    factors[i] = static_cast<float>(given[i]);
  }
  return factors;
}

bool tied_head(const Config& config, const HasTensor& has, bool fallback, const char* key) {
  if (!config.has({key})) return fallback || !has("lm_head.weight");
  if (config.boolean({key}, true)) return true;
  if (!has("lm_head.weight"))
    config.fail(std::string(key) + " is false, but there is no tensor lm_head.weight");
  return false;
}

}  // namespace klens
