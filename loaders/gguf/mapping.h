#pragma once
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "loaders/gguf/gguf_file.h"

namespace klens {

// Ends a message about what a GGUF says and this loader cannot undo.
inline constexpr const char* kGgufCure = "; use the checkpoint that the file was made from";

// Rows of one tensor of the file. `cols` is the tensor's, or 1 where a vector counts as a column.
struct GgufRows {
  const GgufTensor* tensor;
  int64_t first, count, cols;
};

// How one tensor of the checkpoint is made: the rows of its parts one below the other, and then
// what undoes the converter's change.
struct TensorRecipe {
  std::string name;  // as in the checkpoint
  std::vector<int64_t> shape;
  std::vector<GgufRows> parts;
  std::string source;        // the file's name of the first part, for messages
  int64_t paired_heads = 0;  // rows of each head came as pairs (i, i + half); 0: they did not
  bool negated_log = false;  // holds A = -exp(A_log), wanted is A_log
};

// What the converter did to a tensor besides renaming it.
enum class GgufChange {
  kNone,
  kConvolution,  // dropped the middle extent of [channels, 1, width]
  kVector,       // gave [n] a shape of two extents
  kRow,          // dropped the first extent of [1, n], or kept it
  kNegatedExp,   // A_log became -exp(A_log)
  kVectorOfNegatedExp,
  kPairedQueries,  // paired the rows of heads for the rotation of neighbouring channels
  kPairedKeys,
};

struct GgufNameRow {
  const char* gguf;        // behind "blk.N."
  const char* checkpoint;  // behind the layer's prefix
  GgufChange change = GgufChange::kNone;
};

// A GGUF file told as a checkpoint, put together by the function of its architecture: the keys of
// config.json and a recipe for each tensor. What nothing asked for is refused by name.
class GgufMapping {
 public:
  // Bounds of counts and widths that no sound file exceeds.
  static constexpr int64_t kMostBlocks = 4096;
  static constexpr int64_t kMostExperts = 4096;
  static constexpr int64_t kMostWidth = int64_t{1} << 30;

  GgufMapping(const GgufFile& file, std::string architecture);

  const GgufFile& file() const { return file_; }
  nlohmann::ordered_json& config() { return config_; }
  std::vector<TensorRecipe>& recipes() { return recipes_; }
  int64_t blocks() const { return blocks_; }
  int64_t hidden() const { return hidden_; }

  // Keys of the architecture, named without its prefix.
  std::string key(const std::string& name) const { return architecture_ + "." + name; }
  bool has_key(const std::string& name) const { return file_.has(key(name)); }
  int64_t integer(const std::string& name, std::optional<int64_t> fallback = {}) const;
  // Of a state-space mixer: its inner width over its heads. Refuses what is no whole number.
  int64_t ssm_head_dim() const;
  // A whole number, or a list with one number for every block, of which those that count agree;
  // 0 in a list says that the block lacks the part.
  int64_t common_integer(const std::string& name, std::optional<int64_t> fallback = {}) const;
  nlohmann::json number(const std::string& name, std::optional<float> fallback = {}) const;
  // Keys that say nothing about the arithmetic, or repeat what is known from elsewhere.
  void ignore_keys(std::initializer_list<const char*> names) const;
  // A key that may stand there with this value only.
  void require(const std::string& name, int64_t value) const;

  // hidden_size, num_hidden_layers, vocab_size, embedding, final norm and head, which all have.
  void begin(const std::string& name, const std::string& model_type, const std::string& embedding,
             const std::string& final_norm);
  // The last `count` blocks serve other ends than the next token's logits.
  void leave_out_last_blocks(int64_t count);

  bool has_tensor(const std::string& gguf) const { return file_.find_tensor(gguf) != nullptr; }
  bool has_in_block(int64_t block, const std::string& gguf) const;
  bool has_in_any_block(const std::string& gguf) const;
  const GgufTensor& tensor(const std::string& gguf) const;  // throws if it is missing

  // Takes a tensor if it is there.
  void rename(const std::string& gguf, const std::string& checkpoint,
              GgufChange change = GgufChange::kNone);
  void rename_in_block(int64_t block, const std::string& prefix, std::span<const GgufNameRow> rows);
  // One below the other, expert by expert where they have three extents.
  void join(const std::string& above, const std::string& below, const std::string& checkpoint);
  // A tensor [experts, rows, cols] becomes a matrix for each: "E" in the name is the number.
  void split_experts(const std::string& gguf, const std::string& before, const std::string& after);
  // The rows of a tensor come as `groups` times `each` rows for every name in turn.
  void split_rows(const std::string& gguf, int64_t groups, int64_t each,
                  const std::vector<std::string>& checkpoint);
  // blk.N.attn_{q,k,v,output}. `paired`: the converter paired the rows of queries and keys.
  void attention(int64_t block, const std::string& prefix, bool paired);
  // Checks attention.key_length and value_length, sets heads, head_dim and the number of KV heads.
  int64_t attention_config();
  // rope.*, the factors of rope_freqs.weight and what they do in config.json's spelling.
  void rope_config(int64_t head_dim);

  // Throws for keys of the architecture and for tensors that nothing took.
  void finish() const;

 private:
  const GgufTensor* take(const std::string& gguf);
  void check_experts(const std::string& gguf, const GgufTensor& tensor) const;
  void rope_factors(int64_t dims);

  const GgufFile& file_;
  std::string architecture_;
  nlohmann::ordered_json config_;
  std::vector<TensorRecipe> recipes_;
  std::set<std::string> taken_;
  int64_t blocks_ = 0, hidden_ = 0, heads_ = 0, kv_heads_ = 0;
};

// The mapping of the file's architecture. Throws Error naming an unknown one and those known.
GgufMapping map_gguf(const GgufFile& file);

void map_llama(GgufMapping& map);
void map_qwen2(GgufMapping& map);
void map_qwen3(GgufMapping& map);
void map_granite(GgufMapping& map);
void map_lfm2(GgufMapping& map);
void map_lfm2_moe(GgufMapping& map);
void map_qwen3_next(GgufMapping& map);
void map_qwen3_5(GgufMapping& map);
void map_qwen3_5_moe(GgufMapping& map);
void map_mamba(GgufMapping& map);
void map_mamba2(GgufMapping& map);
void map_jamba(GgufMapping& map);
void map_falcon_h1(GgufMapping& map);
void map_granite_hybrid(GgufMapping& map);
void map_nemotron_h(GgufMapping& map);

// The tensors of a Mamba-2 mixer, which several architectures have.
void map_mamba2_mixer(GgufMapping& map, int64_t block, const std::string& prefix);
// Granite's four multipliers.
void set_granite_scales(GgufMapping& map, int64_t head_dim);
// time_step_limit from 0 to infinity: files say nothing else, and so run those who made them.
void set_no_time_step_limit(GgufMapping& map);

// The number that an FP32 was written as: the shortest decimal that reads back as it.
nlohmann::json shortest_number(float value);

}  // namespace klens
