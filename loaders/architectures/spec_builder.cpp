#include "loaders/architectures/spec_builder.h"

#include <algorithm>

namespace klens {

SpecBuilder::SpecBuilder(const Config& config, const HasTensor& has, int64_t vocab, int64_t d_model,
                         const std::string& embedding, bool tied)
    : config_(config), has_(has), embedding_(embedding), tied_(tied) {
  spec_.vocab = vocab;
  spec_.d_model = d_model;
  if (!tied)
    spec_.units.push_back({.name = embedding,
                           .tensor = embedding + ".weight",
                           .kind = "embedding",
                           .rows = vocab,
                           .cols = d_model,
                           .block = -1,
                           .tensor_shape = {}});
}

UnitId SpecBuilder::unit(const std::string& name, int64_t rows, int64_t cols,
                         const std::string& kind) {
  return unit({.name = name,
               .tensor = name + ".weight",
               .kind = kind.empty() ? name.substr(name.rfind('.') + 1) : kind,
               .rows = rows,
               .cols = cols,
               .tensor_shape = {}});
}

UnitId SpecBuilder::unit(LinearSpec spec) {
  const auto [known, added] = unit_ids_.emplace(spec.name, spec_.units.size());
  if (!added) return known->second;
  if (spec_.units.size() >= kMaxUnits) config_.unsupported("asks for too many weight matrices");
  spec.block = next_block();
  spec_.units.push_back(std::move(spec));
  return spec_.units.size() - 1;
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
      .unit = unit(name, rows, cols, kind), .bias = std::nullopt, .adapter = std::nullopt};
  if (bias) result.bias = small(name + ".bias", {rows});
  return result;
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

ModelSpec SpecBuilder::finish(const std::string& final_norm, float eps) {
  spec_.final_norm = norm(final_norm, spec_.d_model, eps);
  spec_.units.push_back({.name = "lm_head",
                         .tensor = tied_ ? embedding_ + ".weight" : "lm_head.weight",
                         .kind = "head",
                         .rows = spec_.vocab,
                         .cols = spec_.d_model,
                         .block = next_block(),
                         .tensor_shape = {}});
  spec_.head = spec_.units.size() - 1;
  spec_.embedding = tied_ ? spec_.head : 0;
  return std::move(spec_);
}

bool tied_head(const Config& config, const HasTensor& has, bool fallback, const char* key) {
  if (!config.has({key})) return fallback || !has("lm_head.weight");
  if (config.boolean({key}, true)) return true;
  if (!has("lm_head.weight"))
    config.fail(std::string(key) + " is false, but there is no tensor lm_head.weight");
  return false;
}

}  // namespace klens
