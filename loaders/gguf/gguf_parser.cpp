// The container, checked whole: header, keys, tensor table, places of the data.
#include "loaders/gguf/gguf_parser.h"

#include <algorithm>

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/safetensors.h"

namespace klens {
namespace {

constexpr size_t kLongestName = 65535;  // the format's own limit for keys
constexpr uint32_t kMostGgufDimensions = 4;
constexpr uint64_t kLargestGgufExtent = uint64_t{1} << 40;

// A tensor's row of the table, before the data's place is known.
struct TypeRow {
  std::string name;
  GgufTensor tensor;
  uint64_t offset, bytes;
};

class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name), cursor_(bytes) {}

  void header() {
    uint32_t magic = 0, version = 0;
    if (!cursor_.read(magic) || magic != 0x46554747u)
      throw Error(ErrorKind::kBadFile, name_ + ": is no GGUF file; give one that is");
    need(cursor_.read(version), "version");
    if ((version & 0xffffu) == 0 && version != 0)
      refuse("is a big-endian GGUF file, klens reads little-endian ones; convert the model again");
    if (version != 2 && version != 3)
      refuse("is a GGUF file of version " + std::to_string(version) +
             ", klens reads versions 2 and 3; convert the model again");
    need(cursor_.read(tensor_count_) && cursor_.read(key_count_), "header");
  }

  void values(std::map<std::string, GgufFile::Value>& values) {
    for (uint64_t i = 0; i < key_count_; ++i) {
      std::string_view key;
      need(read_gguf_text(cursor_, key), "list of keys");
      if (key.empty() || key.size() > kLongestName)
        damaged("key " + std::to_string(i) + " has a name of " + std::to_string(key.size()) +
                " bytes");
      const GgufFile::Value value = read_value(key);
      if (!values.emplace(key, value).second)
        damaged("key " + shown_name(key) + " stands there twice");
    }
  }

  void tensors(uint64_t alignment, std::map<std::string, GgufTensor>& tensors) {
    std::vector<TypeRow> rows;
    for (uint64_t i = 0; i < tensor_count_; ++i) rows.push_back(read_row(i, alignment));
    const uint64_t used = cursor_.position() % alignment;
    const uint64_t padding = used == 0 ? 0 : alignment - used;
    std::span<const std::byte> skipped;
    if (!cursor_.skip(std::min<uint64_t>(padding, cursor_.left()), skipped)) return;
    const std::span<const std::byte> data = bytes_.subspan(cursor_.position());
    check_places(rows, data.size());
    for (TypeRow& row : rows) {
      row.tensor.bytes = data.subspan(row.offset, row.bytes);
      if (!tensors.emplace(row.name, std::move(row.tensor)).second)
        damaged("tensor " + shown_name(row.name) + " stands there twice");
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported, name_ + ": " + what);
  }
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, name_ + ": " + what + kGetAgain);
  }
  void need(bool there, const std::string& part) const {
    if (!there) damaged("ends within its " + part);
  }

  GgufFile::Value read_value(std::string_view key) {
    const std::string where = "key " + shown_name(key);
    GgufFile::Value value{.type = 0, .is_list = false, .count = 1, .bytes = {}};
    need(cursor_.read(value.type), where);
    if (value.type == static_cast<uint32_t>(GgufValueType::kArray)) {
      value.is_list = true;
      need(cursor_.read(value.type) && cursor_.read(value.count), where);
      if (value.type == static_cast<uint32_t>(GgufValueType::kArray))
        refuse(where + " is a list of lists, which klens does not read; convert the model again");
    }
    const auto type = static_cast<GgufValueType>(value.type);
    if (type == GgufValueType::kString) {
      const size_t begin = cursor_.position();
      std::string_view text;
      for (uint64_t i = 0; i < value.count; ++i) need(read_gguf_text(cursor_, text), where);
      value.bytes = bytes_.subspan(begin, cursor_.position() - begin);
      return value;
    }
    const size_t size = value_type_bytes(type);
    if (size == 0) damaged(where + " has the unknown type " + std::to_string(value.type));
    uint64_t total = 0;
    need(!__builtin_mul_overflow(value.count, size, &total) && cursor_.skip(total, value.bytes),
         where);
    return value;
  }

  TypeRow read_row(uint64_t number, uint64_t alignment) {
    std::string_view name;
    need(read_gguf_text(cursor_, name), "list of tensors");
    if (name.empty() || name.size() > kLongestName)
      damaged("tensor " + std::to_string(number) + " has a name of " + std::to_string(name.size()) +
              " bytes");
    const std::string where = "tensor " + shown_name(name);
    TypeRow row{std::string(name), {}, 0, 0};
    uint32_t dimensions = 0, type = 0;
    need(cursor_.read(dimensions), "list of tensors");
    if (dimensions == 0 || dimensions > kMostGgufDimensions)
      damaged(where + " has " + std::to_string(dimensions) + " dimensions, not 1 to 4");
    for (uint32_t i = 0; i < dimensions; ++i) {
      uint64_t extent = 0;
      need(cursor_.read(extent), "list of tensors");
      if (extent == 0 || extent > kLargestGgufExtent)
        damaged(where + " has a dimension of " + std::to_string(extent));
      row.tensor.shape.insert(row.tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    need(cursor_.read(type) && cursor_.read(row.offset), "list of tensors");
    const GgmlTypeInfo* info = find_ggml_type(type);
    if (info == nullptr || info->bytes == 0)
      refuse(where + " has type " + (info ? info->name : std::to_string(type)) +
             ", which klens does not read; quantise the model to one of " + readable_ggml_types());
    row.tensor.type = static_cast<GgmlType>(type);
    row.bytes = data_bytes(row.tensor, *info, where);
    if (row.offset % alignment != 0)
      damaged(where + " begins at data byte " + std::to_string(row.offset) +
              ", not at a multiple of the alignment " + std::to_string(alignment));
    return row;
  }

  uint64_t data_bytes(const GgufTensor& tensor, const GgmlTypeInfo& info,
                      const std::string& where) const {
    if (tensor.cols() % info.block != 0)
      damaged(where + " of shape " + shape_text(tensor.shape) + " has rows that are not whole " +
              info.name + " blocks of " + std::to_string(info.block));
    int64_t total = tensor.cols() / info.block;
    bool overflow = __builtin_mul_overflow(total, static_cast<int64_t>(info.bytes), &total);
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i)
      overflow |= __builtin_mul_overflow(total, tensor.shape[i], &total);
    // Twice the bits of a value: no count or size derived from the shape may overflow either.
    if (overflow || total > (int64_t{1} << 58))
      damaged(where + " has shape " + shape_text(tensor.shape) + ", which overflows");
    return static_cast<uint64_t>(total);
  }

  // Tensors lie inside the file and do not overlap.
  void check_places(const std::vector<TypeRow>& rows, size_t data_bytes) const {
    std::vector<const TypeRow*> sorted;
    for (const TypeRow& row : rows) {
      if (row.offset > data_bytes || row.bytes > data_bytes - row.offset)
        damaged("tensor " + shown_name(row.name) + " lies at data bytes " +
                std::to_string(row.offset) + " to " + std::to_string(row.offset + row.bytes) +
                ", the file has " + std::to_string(data_bytes));
      sorted.push_back(&row);
    }
    std::sort(sorted.begin(), sorted.end(),
              [](const TypeRow* a, const TypeRow* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < sorted.size(); ++i)
      if (sorted[i]->offset < sorted[i - 1]->offset + sorted[i - 1]->bytes)
        damaged("tensor " + shown_name(sorted[i]->name) + " overlaps tensor " +
                shown_name(sorted[i - 1]->name));
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  ByteReader cursor_;
  uint64_t tensor_count_ = 0, key_count_ = 0;
};

}  // namespace

std::string shown_name(std::string_view name) {
  std::string text = brief(name);
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

size_t value_type_bytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kU16:
    case GgufValueType::kI16:
      return 2;
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kF32:
      return 4;
    case GgufValueType::kU64:
    case GgufValueType::kI64:
    case GgufValueType::kF64:
      return 8;
    default:
      return 0;
  }
}

GgufFile GgufFile::open(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  GgufFile parsed = parse(file->bytes(), path);
  for (auto& [name, tensor] : parsed.tensors_) tensor.file = file;
  parsed.files_.push_back(std::move(file));
  return parsed;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, const std::string& name) {
  GgufFile file;
  file.name_ = name;
  file.file_bytes_ = bytes.size();
  HeaderParser parser(bytes, name);
  parser.header();
  parser.values(file.values_);
  const int64_t alignment = file.integer("general.alignment", 1, 1 << 20, 32);
  if ((alignment & (alignment - 1)) != 0)
    file.fail("key general.alignment is " + std::to_string(alignment) +
              ", which is no power of two" + kGetAgain);
  parser.tensors(static_cast<uint64_t>(alignment), file.tensors_);
  return file;
}

}  // namespace klens
