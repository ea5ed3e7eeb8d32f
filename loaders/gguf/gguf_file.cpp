// Typed access to the keys.
#include "loaders/gguf/gguf_file.h"

#include <cmath>

#include "base/error.h"
#include "loaders/gguf/gguf_parser.h"

namespace klens {
namespace {

template <class T>
T element(const GgufFile::Value& value, size_t i) {
  T result;
  std::memcpy(&result, value.bytes.data() + i * sizeof result, sizeof result);
  return result;
}

// A whole number; absent if it is of another type or beyond int64_t.
std::optional<int64_t> whole(const GgufFile::Value& value, size_t i) {
  switch (static_cast<GgufValueType>(value.type)) {
    case GgufValueType::kU8:
      return element<uint8_t>(value, i);
    case GgufValueType::kI8:
      return element<int8_t>(value, i);
    case GgufValueType::kU16:
      return element<uint16_t>(value, i);
    case GgufValueType::kI16:
      return element<int16_t>(value, i);
    case GgufValueType::kU32:
      return element<uint32_t>(value, i);
    case GgufValueType::kI32:
      return element<int32_t>(value, i);
    case GgufValueType::kI64:
      return element<int64_t>(value, i);
    case GgufValueType::kU64: {
      const uint64_t number = element<uint64_t>(value, i);
      if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(number);
    }
    default:
      return std::nullopt;
  }
}

std::string range_text(int64_t min, int64_t max) {
  return "is not a whole number from " + std::to_string(min) + " to " + std::to_string(max);
}

}  // namespace

int64_t GgufTensor::rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

const GgufTensor* GgufFile::find_tensor(const std::string& tensor) const {
  const auto at = tensors_.find(tensor);
  return at == tensors_.end() ? nullptr : &at->second;
}

const GgufFile::Value* GgufFile::find(const std::string& key) const {
  read_->insert(key);
  const auto at = values_.find(key);
  return at == values_.end() ? nullptr : &at->second;
}

const GgufFile::Value* GgufFile::scalar(const std::string& key) const {
  const Value* value = find(key);
  if (value && value->is_list) fail("key " + key + " is a list, not one value" + kConvertAgain);
  return value;
}

const GgufFile::Value* GgufFile::list(const std::string& key) const {
  const Value* value = find(key);
  if (value && !value->is_list) fail("key " + key + " is not a list" + kConvertAgain);
  return value;
}

bool GgufFile::is_list(const std::string& key) const {
  const Value* value = find(key);
  return value && value->is_list;
}

int64_t GgufFile::integer(const std::string& key, int64_t min, int64_t max,
                          std::optional<int64_t> fallback) const {
  const Value* value = scalar(key);
  if (!value && fallback) return *fallback;
  if (!value) fail("lacks the key " + key + kConvertAgain);
  const std::optional<int64_t> number = whole(*value, 0);
  if (!number || *number < min || *number > max)
    fail("key " + key + " " + range_text(min, max) + kConvertAgain);
  return *number;
}

double GgufFile::number(const std::string& key, std::optional<double> fallback) const {
  const Value* value = scalar(key);
  if (!value && fallback) return *fallback;
  if (!value) fail("lacks the key " + key + kConvertAgain);
  const auto type = static_cast<GgufValueType>(value->type);
  double result = NAN;
  if (type == GgufValueType::kF32) result = static_cast<double>(element<float>(*value, 0));
  if (type == GgufValueType::kF64) result = element<double>(*value, 0);
  if (const std::optional<int64_t> number = whole(*value, 0)) result = static_cast<double>(*number);
  if (!std::isfinite(result)) fail("key " + key + " is not a finite number" + kConvertAgain);
  return result;
}

bool GgufFile::boolean(const std::string& key, bool fallback) const {
  const Value* value = scalar(key);
  if (!value) return fallback;
  if (value->type != static_cast<uint32_t>(GgufValueType::kBool))
    fail("key " + key + " is not true or false" + kConvertAgain);
  return element<uint8_t>(*value, 0) != 0;
}

std::string GgufFile::text(const std::string& key, std::optional<std::string> fallback) const {
  const Value* value = scalar(key);
  if (!value && fallback) return *fallback;
  if (!value) fail("lacks the key " + key + kConvertAgain);
  if (value->type != static_cast<uint32_t>(GgufValueType::kString))
    fail("key " + key + " is not a text" + kConvertAgain);
  std::string_view result;
  ByteReader reader(value->bytes);
  read_gguf_text(reader, result);
  return std::string(result);
}

std::vector<int64_t> GgufFile::integers(const std::string& key, int64_t min, int64_t max) const {
  std::vector<int64_t> result;
  const Value* value = list(key);
  for (size_t i = 0; value && i < value->count; ++i) {
    const std::optional<int64_t> number = value->type == static_cast<uint32_t>(GgufValueType::kBool)
                                              ? std::optional<int64_t>(element<uint8_t>(*value, i))
                                              : whole(*value, i);
    if (!number || *number < min || *number > max)
      fail("key " + key + ": entry " + std::to_string(i) + " " + range_text(min, max) +
           kConvertAgain);
    result.push_back(*number);
  }
  return result;
}

std::vector<float> GgufFile::numbers(const std::string& key) const {
  std::vector<float> result;
  const Value* value = list(key);
  if (value && value->type != static_cast<uint32_t>(GgufValueType::kF32))
    fail("key " + key + " is not a list of F32 numbers" + kConvertAgain);
  for (size_t i = 0; value && i < value->count; ++i) {
    result.push_back(element<float>(*value, i));
    if (!std::isfinite(result.back()))
      fail("key " + key + ": entry " + std::to_string(i) + " is not a finite number" +
           kConvertAgain);
  }
  return result;
}

std::vector<std::string_view> GgufFile::texts(const std::string& key) const {
  std::vector<std::string_view> result;
  const Value* value = list(key);
  if (!value) return result;
  if (value->type != static_cast<uint32_t>(GgufValueType::kString))
    fail("key " + key + " is not a list of texts" + kConvertAgain);
  ByteReader reader(value->bytes);
  for (size_t i = 0; i < value->count; ++i) read_gguf_text(reader, result.emplace_back());
  return result;
}

std::vector<std::string> GgufFile::unread(const std::string& prefix) const {
  std::vector<std::string> keys;
  for (auto at = values_.lower_bound(prefix); at != values_.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    if (!read_->contains(at->first)) keys.push_back(at->first);
  }
  return keys;
}

void GgufFile::fail(const std::string& what) const {
  throw Error(ErrorKind::kBadFile, name_ + ": " + what);
}

void GgufFile::unsupported(const std::string& what) const {
  throw Error(ErrorKind::kUnsupported, name_ + ": " + what);
}

}  // namespace klens
