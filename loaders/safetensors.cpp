#include "loaders/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/tensor_values.h"

namespace klens {
namespace {

using nlohmann::json;

struct DTypeRow {
  const char* name;
  DType dtype;
  size_t bytes;
};

constexpr DTypeRow kDTypes[] = {
    {"F64", DType::kF64, 8},   {"F32", DType::kF32, 4}, {"F16", DType::kF16, 2},
    {"BF16", DType::kBf16, 2}, {"I64", DType::kI64, 8}, {"I32", DType::kI32, 4},
    {"I16", DType::kI16, 2},   {"I8", DType::kI8, 1},   {"U8", DType::kU8, 1},
    {"BOOL", DType::kBool, 1},
};

constexpr size_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

const DTypeRow* find_dtype(const std::string& name) {
  for (const DTypeRow& row : kDTypes)
    if (name == row.name) return &row;
  return nullptr;
}

struct Place {
  size_t begin, end;
};

// One tensor's entry of the header. Throws with the reason alone; the caller adds file and tensor.
TensorView read_entry(const json& entry, std::span<const std::byte> data, Place& place) {
  const auto fail = [](const std::string& what) { throw Error(ErrorKind::kBadFile, what); };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    fail("its header entry lacks dtype, shape or data_offsets");
  const json& dtype = entry["dtype"];
  if (!dtype.is_string()) fail("has dtype " + shown_json(dtype) + ", which is no text");
  const DTypeRow* row = find_dtype(dtype.get<std::string>());
  if (row == nullptr)  // 8-bit floats and their like: a sound file
    throw Error(ErrorKind::kUnsupported,
                "has dtype " + shown_json(dtype) + dtype_cure(dtype.get<std::string>()));

  TensorView tensor{.dtype = row->dtype, .shape = {}, .bytes = {}};
  // Counted in int64_t, as elements() does: what a shape with a 0 in it multiplies to on the way
  // counts too.
  int64_t bytes = static_cast<int64_t>(row->bytes);
  if (!entry["shape"].is_array() || entry["shape"].size() > 8)
    fail("its shape is not a short list");
  for (const json& extent : entry["shape"]) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > (uint64_t{1} << 40))
      fail("its shape " + shown_json(entry["shape"]) + " is not a list of sizes");
    tensor.shape.push_back(extent.get<int64_t>());
    if (__builtin_mul_overflow(bytes, tensor.shape.back(), &bytes))
      fail("its shape " + shown_json(entry["shape"]) + " overflows");
  }
  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    fail("its data_offsets are not two positions");
  place = {offsets[0].get<size_t>(), offsets[1].get<size_t>()};
  if (place.begin > place.end || place.end > data.size())
    fail("its data_offsets " + offsets.dump() + " lie outside the file's " +
         std::to_string(data.size()) + " data bytes");
  if (place.end - place.begin != static_cast<size_t>(bytes))
    fail("its data_offsets hold " + std::to_string(place.end - place.begin) + " bytes, its shape " +
         shape_text(tensor.shape) + " needs " + std::to_string(bytes));
  tensor.bytes = data.subspan(place.begin, place.end - place.begin);
  return tensor;
}

void check_no_holes(std::vector<Place> places, size_t data_bytes, const std::string& name) {
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  size_t expected = 0;
  for (const Place& place : places) {
    if (place.begin != expected)
      throw Error(ErrorKind::kBadFile, name + ": tensors overlap or leave a hole at data byte " +
                                           std::to_string(std::min(expected, place.begin)) +
                                           kGetAgain);
    expected = place.end;
  }
  if (expected != data_bytes)
    throw Error(ErrorKind::kBadFile, name + ": holds " + std::to_string(data_bytes - expected) +
                                         " bytes more than its tensors" + kGetAgain);
}

}  // namespace

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

const char* dtype_name(DType dtype) {
  for (const DTypeRow& row : kDTypes)
    if (row.dtype == dtype) return row.name;
  return "?";
}

size_t dtype_bytes(DType dtype) {
  for (const DTypeRow& row : kDTypes)
    if (row.dtype == dtype) return row.bytes;
  return 0;
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  SafetensorsFile parsed = parse(file->bytes(), path);
  parsed.file_ = std::move(file);
  return parsed;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& name) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile, name + ": " + what + kGetAgain);
  };
  uint64_t header_size = 0;
  if (bytes.size() < sizeof header_size) fail("is too short for a safetensors file");
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (header_size > kMaxHeaderBytes)
    throw Error(ErrorKind::kBadFile, name + ": is no safetensors file (its header would have " +
                                         std::to_string(header_size) + " bytes); give one that is");
  if (header_size > bytes.size() - sizeof header_size)
    fail("its header should have " + std::to_string(header_size) + " bytes, the file ends before");

  SafetensorsFile result;
  result.file_bytes_ = bytes.size();
  result.header_bytes_ = sizeof header_size + header_size;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof header_size,
                              header_size);
  const JsonDocument document = parse_json(text, name + " (header)", DuplicateKeys::kRefused);
  const json& header = *document;
  if (!header.is_object()) fail("its header is not a JSON object");
  const std::span<const std::byte> data = bytes.subspan(result.header_bytes_);
  std::vector<Place> places;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) fail("its __metadata__ is not an object");
      for (const auto& [meta, entry] : value.items()) {
        if (!entry.is_string()) fail("its __metadata__ entry " + brief(meta) + " is not a string");
        result.metadata_[meta] = entry.get<std::string>();
      }
      continue;
    }
    try {
      Place place{};
      result.tensors_[key] = read_entry(value, data, place);
      places.push_back(place);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUnsupported)
        throw Error(error.kind(), name + ": tensor " + brief(key) + " " + error.what());
      fail("tensor " + brief(key) + ": " + error.what());
    }
  }
  check_no_holes(std::move(places), data.size(), name);
  return result;
}

std::string safetensors_header(std::span<const TensorEntry> entries,
                               const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const TensorEntry& entry : entries) {
    header[entry.name] = {{"dtype", dtype_name(entry.dtype)},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + entry.bytes}}};
    offset += entry.bytes;
  }
  // Text that came from outside may hold invalid UTF-8; JSON may not.
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.append((64 - (8 + text.size()) % 64) % 64, ' ');
  const uint64_t size = text.size();
  std::string result(sizeof size, '\0');
  std::memcpy(result.data(), &size, sizeof size);
  return result + text;
}

}  // namespace klens
