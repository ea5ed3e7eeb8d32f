#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/mapped_file.h"

namespace klens {

// How messages on files end that their converter wrote wrongly.
inline constexpr const char* kConvertAgain = "; convert the model again";

// The tensor types that klens reads, by the format's numbers.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2K = 10,
  kQ3K = 11,
  kQ4K = 12,
  kQ5K = 13,
  kQ6K = 14,
  kIq4Nl = 20,
  kIq4Xs = 23,
  kBf16 = 30,
  kMxfp4 = 39,
};

struct GgmlTypeInfo {
  const char* name;
  uint32_t number;
  int64_t block;  // values that one block holds; rows are whole blocks
  size_t bytes;   // of a block; 0: a type that klens does not read
};
const GgmlTypeInfo& ggml_type_info(GgmlType type);

// A tensor as it lies in the file, its shape row-major: GGUF's dimensions turned round.
struct GgufTensor {
  GgmlType type;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const MappedFile> file = nullptr;  // that they are mapped from; null if parsed

  int64_t cols() const { return shape.back(); }
  int64_t rows() const;  // the product of all other extents
};

// A GGUF file of version 2 or 3, mapped: keys with values, then tensors. Everything the header says
// is checked against the file when it is opened. Values are decoded when asked for; accessors throw
// Error naming file and key if a value is missing, of another type or out of range, and remember
// what was asked for.
class GgufFile {
 public:
  // Throws Error (kIo, kBadFile, kUnsupported) naming the file and the key or tensor.
  static GgufFile open(const std::string& path);
  // The same checks on bytes that the caller keeps alive; `name` is for messages.
  static GgufFile parse(std::span<const std::byte> bytes, const std::string& name);
  // The model at `path`: one file, or the first of the parts that it was split into, and then all
  // of them; keys are the first's.
  static GgufFile open_model(const std::string& path);

  const std::string& name() const { return name_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(const std::string& tensor) const;
  size_t file_bytes() const { return file_bytes_; }  // of all parts
  int64_t parts() const { return parts_; }
  const std::vector<std::shared_ptr<const MappedFile>>& mappings() const { return files_; }

  bool has(const std::string& key) const { return find(key) != nullptr; }
  bool is_list(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t min, int64_t max,
                  std::optional<int64_t> fallback = std::nullopt) const;
  double number(const std::string& key, std::optional<double> fallback = std::nullopt) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, std::optional<std::string> fallback = {}) const;
  // Lists; empty if absent. Texts point into the file.
  std::vector<int64_t> integers(const std::string& key, int64_t min, int64_t max) const;
  std::vector<float> numbers(const std::string& key) const;
  std::vector<std::string_view> texts(const std::string& key) const;

  // The keys that begin with `prefix` and that nothing has asked for.
  std::vector<std::string> unread(const std::string& prefix) const;

  [[noreturn]] void fail(const std::string& what) const;         // kBadFile, "FILE: what"
  [[noreturn]] void unsupported(const std::string& what) const;  // kUnsupported

  struct Value {
    uint32_t type;  // of the value or, in a list, of its elements
    bool is_list;
    uint64_t count;                    // of elements; 1 without a list
    std::span<const std::byte> bytes;  // the elements as they lie
  };

 private:
  const Value* find(const std::string& key) const;
  const Value* scalar(const std::string& key) const;
  const Value* list(const std::string& key) const;
  void add(GgufFile part);

  std::string name_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<std::string, Value> values_;
  std::map<std::string, GgufTensor> tensors_;
  size_t file_bytes_ = 0;
  int64_t parts_ = 1;
  std::shared_ptr<std::set<std::string>> read_ = std::make_shared<std::set<std::string>>();
};

// A key or tensor name as messages show it: short, printable.
std::string shown_name(std::string_view name);

// Whether a file's name says that it is a part of a split model, and not its first:
// NAME-00002-of-00003.gguf.
bool is_later_part(std::string_view path);

}  // namespace klens
