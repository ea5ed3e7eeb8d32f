#include "loaders/gguf/mapping.h"

#include <charconv>

#include "base/error.h"
#include "loaders/safetensors.h"

namespace klens {
namespace {

struct GgufArchitecture {
  const char* name;
  void (*map)(GgufMapping& map);
};

constexpr GgufArchitecture kGgufArchitectures[] = {
    {"llama", map_llama},
    {"granite", map_granite},
    {"lfm2", map_lfm2},
    {"lfm2moe", map_lfm2_moe},
    {"qwen3next", map_qwen3_next},
    {"qwen35", map_qwen3_5},
    {"qwen35moe", map_qwen3_5_moe},
    {"qwen2", map_qwen2},
    {"qwen3", map_qwen3},
    {"mamba", map_mamba},
    {"mamba2", map_mamba2},
    {"jamba", map_jamba},
    {"falcon-h1", map_falcon_h1},
    {"granitehybrid", map_granite_hybrid},
    {"nemotron_h", map_nemotron_h},
    {"nemotron_h_moe", map_nemotron_h},
};

std::string block_name(int64_t block, const std::string& gguf) {
  return "blk." + std::to_string(block) + "." + gguf;
}

GgufRows all_rows(const GgufTensor& tensor) { return {&tensor, 0, tensor.rows(), tensor.cols()}; }

}  // namespace

GgufMapping::GgufMapping(const GgufFile& file, std::string architecture)
    : file_(file), architecture_(std::move(architecture)) {
  config_ = nlohmann::ordered_json::object();
  blocks_ = file_.integer(key("block_count"), 1, kMostBlocks);
  hidden_ = integer("embedding_length");
}

int64_t GgufMapping::ssm_head_dim() const {
  const int64_t heads = integer("ssm.time_step_rank"), inner = integer("ssm.inner_size");
  if (inner % heads != 0)
    file_.unsupported("key " + key("ssm.inner_size") + " is " + std::to_string(inner) +
                      ", no multiple of the number of heads" + kGgufCure);
  return inner / heads;
}

int64_t GgufMapping::integer(const std::string& name, std::optional<int64_t> fallback) const {
  return file_.integer(key(name), fallback ? 0 : 1, kMostWidth, fallback);
}

int64_t GgufMapping::common_integer(const std::string& name,
                                    std::optional<int64_t> fallback) const {
  if (!file_.is_list(key(name))) return integer(name, fallback);
  int64_t common = 0;
  for (const int64_t value : file_.integers(key(name), 0, kMostWidth)) {
    if (value != 0 && common != 0 && value != common)
      file_.unsupported("key " + key(name) + " differs from block to block, which klens lacks" +
                        kGgufCure);
    if (value != 0) common = value;
  }
  return common;
}

nlohmann::json GgufMapping::number(const std::string& name, std::optional<float> fallback) const {
  if (fallback && !has_key(name)) return shortest_number(*fallback);
  return shortest_number(static_cast<float>(file_.number(key(name))));
}

void GgufMapping::ignore_keys(std::initializer_list<const char*> names) const {
  for (const char* name : names) has_key(name);
}

void GgufMapping::require(const std::string& name, int64_t value) const {
  if (const int64_t found = integer(name, value); found != value)
    file_.unsupported("key " + key(name) + " is " + std::to_string(found) +
                      ", which klens lacks for this architecture" + kGgufCure);
}

void GgufMapping::begin(const std::string& name, const std::string& model_type,
                        const std::string& embedding, const std::string& final_norm) {
  config_["architectures"] = {name};
  config_["model_type"] = model_type;
  config_["hidden_size"] = hidden_;
  config_["num_hidden_layers"] = blocks_;
  config_["vocab_size"] = tensor("token_embd.weight").rows();
  if (const int64_t length = integer("context_length", 0); length > 0)
    config_["max_position_embeddings"] = length;
  config_["tie_word_embeddings"] = !has_tensor("output.weight");
  rename("token_embd.weight", embedding);
  rename("output_norm.weight", final_norm);
  rename("output.weight", "lm_head.weight");
  ignore_keys({"vocab_size", "tensor_data_layout"});
}

void GgufMapping::leave_out_last_blocks(int64_t count) {
  if (count >= blocks_) file_.fail("key " + key("nextn_predict_layers") + " leaves no block");
  for (int64_t block = blocks_ - count; block < blocks_; ++block) {
    const std::string prefix = block_name(block, "");
    for (auto at = file_.tensors().lower_bound(prefix);
         at != file_.tensors().end() && at->first.starts_with(prefix); ++at)
      taken_.insert(at->first);
  }
  blocks_ -= count;
}

bool GgufMapping::has_in_block(int64_t block, const std::string& gguf) const {
  return has_tensor(block_name(block, gguf));
}

bool GgufMapping::has_in_any_block(const std::string& gguf) const {
  for (int64_t block = 0; block < blocks_; ++block)
    if (has_in_block(block, gguf)) return true;
  return false;
}

const GgufTensor& GgufMapping::tensor(const std::string& gguf) const {
  const GgufTensor* found = file_.find_tensor(gguf);
  if (!found) file_.fail("lacks the tensor " + gguf + kConvertAgain);
  return *found;
}

const GgufTensor* GgufMapping::take(const std::string& gguf) {
  const GgufTensor* found = file_.find_tensor(gguf);
  if (found) taken_.insert(gguf);
  return found;
}

void GgufMapping::rename(const std::string& gguf, const std::string& checkpoint,
                         GgufChange change) {
  const GgufTensor* found = take(gguf);
  if (!found) return;
  TensorRecipe recipe{checkpoint, found->shape, {all_rows(*found)}, gguf};
  switch (change) {
    case GgufChange::kNone:
      break;
    case GgufChange::kConvolution:
      if (recipe.shape.size() == 2) recipe.shape.insert(recipe.shape.begin() + 1, 1);
      break;
    case GgufChange::kVector:
    case GgufChange::kVectorOfNegatedExp:
      recipe.shape = {found->rows() * found->cols()};
      recipe.negated_log = change == GgufChange::kVectorOfNegatedExp;
      break;
    case GgufChange::kRow:
      recipe.shape = {1, found->rows() * found->cols()};
      break;
    case GgufChange::kNegatedExp:
      recipe.negated_log = true;
      break;
    case GgufChange::kPairedQueries:
    case GgufChange::kPairedKeys:
      recipe.paired_heads = change == GgufChange::kPairedQueries ? heads_ : kv_heads_;
      if (found->shape.size() == 1) recipe.parts = {{found, 0, found->cols(), 1}};
      break;
  }
  recipes_.push_back(std::move(recipe));
}

void GgufMapping::rename_in_block(int64_t block, const std::string& prefix,
                                  std::span<const GgufNameRow> rows) {
  for (const GgufNameRow& row : rows)
    rename(block_name(block, row.gguf), prefix + row.checkpoint, row.change);
}

void GgufMapping::check_experts(const std::string& gguf, const GgufTensor& tensor) const {
  if (tensor.shape.size() > 3 || (tensor.shape.size() == 3 && tensor.shape[0] > kMostExperts))
    file_.fail("tensor " + gguf + " has shape " + shape_text(tensor.shape) +
               ", which is more experts than any model has" + kConvertAgain);
}

void GgufMapping::join(const std::string& above, const std::string& below,
                       const std::string& checkpoint) {
  if (!has_tensor(above) && !has_tensor(below)) return;
  const GgufTensor& first = tensor(above);
  const GgufTensor& second = tensor(below);
  take(above);
  take(below);
  if (first.shape != second.shape || first.shape.size() < 2)
    file_.fail("tensors " + above + " and " + below + " have shapes " + shape_text(first.shape) +
               " and " + shape_text(second.shape) + ", which do not go together" + kConvertAgain);
  check_experts(above, first);
  TensorRecipe recipe{checkpoint, first.shape, {}, above};
  recipe.shape[recipe.shape.size() - 2] *= 2;
  const int64_t each = first.shape[first.shape.size() - 2];
  for (int64_t row = 0; row < first.rows(); row += each) {
    recipe.parts.push_back({&first, row, each, first.cols()});
    recipe.parts.push_back({&second, row, each, second.cols()});
  }
  recipes_.push_back(std::move(recipe));
}

void GgufMapping::split_experts(const std::string& gguf, const std::string& before,
                                const std::string& after) {
  const GgufTensor* found = take(gguf);
  if (!found) return;
  if (found->shape.size() != 3)
    file_.fail("tensor " + gguf + " has shape " + shape_text(found->shape) +
               ", not one matrix for each expert" + kConvertAgain);
  check_experts(gguf, *found);
  const int64_t each = found->shape[1];
  for (int64_t expert = 0; expert < found->shape[0]; ++expert)
    recipes_.push_back({before + std::to_string(expert) + after,
                        {each, found->cols()},
                        {{found, expert * each, each, found->cols()}},
                        gguf});
}

void GgufMapping::split_rows(const std::string& gguf, int64_t groups, int64_t each,
                             const std::vector<std::string>& checkpoint) {
  const GgufTensor& found = tensor(gguf);
  take(gguf);
  const auto names = static_cast<int64_t>(checkpoint.size());
  if (found.shape.size() != 2 || found.rows() != groups * each * names)
    file_.fail("tensor " + gguf + " has shape " + shape_text(found.shape) + ", not " +
               std::to_string(groups * each * names) + " rows" + kConvertAgain);
  for (int64_t name = 0; name < names; ++name) {
    TensorRecipe recipe{
        checkpoint[static_cast<size_t>(name)], {groups * each, found.cols()}, {}, gguf};
    for (int64_t group = 0; group < groups; ++group)
      recipe.parts.push_back({&found, (group * names + name) * each, each, found.cols()});
    recipes_.push_back(std::move(recipe));
  }
}

void GgufMapping::finish() const {
  const std::vector<std::string> keys = file_.unread(architecture_ + ".");
  if (!keys.empty())
    file_.unsupported("key " + shown_name(keys.front()) +
                      " may change the arithmetic and is not one that klens knows" + kGgufCure);
  for (const auto& [name, tensor] : file_.tensors())
    if (!taken_.contains(name))
      file_.unsupported("tensor " + shown_name(name) + " is not one that klens reads in a " +
                        architecture_ + " model of " + std::to_string(blocks_) + " blocks" +
                        kGgufCure);
}

GgufMapping map_gguf(const GgufFile& file) {
  const std::string name = file.text("general.architecture");
  std::string known;
  for (const GgufArchitecture& row : kGgufArchitectures) {
    if (name == row.name) {
      GgufMapping map(file, name);
      row.map(map);
      map.finish();
      return map;
    }
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  file.unsupported("architecture " + shown_name(name) + " is not one that klens reads from GGUF (" +
                   known + ")" + kGgufCure);
}

nlohmann::json shortest_number(float value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  double number = static_cast<double>(value);
  if (error == std::errc()) std::from_chars(text, end, number);
  return number;
}

}  // namespace klens
