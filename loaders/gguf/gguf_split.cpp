// Models in several files: NAME-00001-of-00003.gguf and its fellows. The first has all keys; each
// has tensors of its own.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "loaders/gguf/gguf_file.h"

namespace klens {
namespace {

constexpr int64_t kMostSplitParts = 65535;
constexpr size_t kPartDigits = 5;

std::string five_digits(int64_t number) {
  const std::string text = std::to_string(number);
  return std::string(kPartDigits - std::min(kPartDigits, text.size()), '0') + text;
}

// "-00001-of-00003.gguf"; parts count from 0.
std::string ending(int64_t part, int64_t count) {
  return "-" + five_digits(part + 1) + "-of-" + five_digits(count) + ".gguf";
}

std::string part_of(int64_t part, int64_t count) {
  return "part " + std::to_string(part + 1) + " of " + std::to_string(count) + " of a model";
}

int64_t count_of(const GgufFile& file) {
  return file.integer("split.count", 0, kMostSplitParts, 1);
}
int64_t number_of(const GgufFile& file) {
  return file.integer("split.no", 0, kMostSplitParts, int64_t{0});
}

GgufFile open_part(const std::string& path, const std::string& first, int64_t part, int64_t count) {
  if (!file_exists(path))
    throw Error(ErrorKind::kIo, path + ": is missing, but " + first + " is " + part_of(0, count) +
                                    "; get all parts");
  GgufFile file = GgufFile::open(path);
  if (count_of(file) != count || number_of(file) != part)
    file.fail("is not " + part_of(part, count) + ", though its name says so; get it again");
  return file;
}

}  // namespace

bool is_later_part(std::string_view path) {
  // -NNNNN-of-NNNNN.gguf
  const size_t size = ending(0, 1).size();
  if (path.size() < size) return false;
  std::string shape(path.substr(path.size() - size));
  const bool first = shape.substr(1, kPartDigits) == five_digits(1);
  for (char& c : shape)
    if (c >= '0' && c <= '9') c = '0';
  return !first && shape == "-00000-of-00000.gguf";
}

void GgufFile::add(GgufFile part) {
  for (auto& [name, tensor] : part.tensors_)
    if (!tensors_.emplace(name, std::move(tensor)).second)
      part.fail("tensor " + shown_name(name) + " is in another part too; get all parts again");
  files_.insert(files_.end(), part.files_.begin(), part.files_.end());
  file_bytes_ += part.file_bytes_;
  ++parts_;
}

GgufFile GgufFile::open_model(const std::string& path) {
  GgufFile first = open(path);
  const int64_t count = count_of(first), number = number_of(first);
  if (count <= 1) return first;
  const std::string own = ending(number, count);
  if (number >= count || !path.ends_with(own))
    first.unsupported("is " + part_of(number, count) + ", whose name must end in " +
                      ending(std::min(number, count - 1), count) +
                      "; give all parts their names, or join them with llama-gguf-split --merge");
  const std::string stem = path.substr(0, path.size() - own.size());
  if (number != 0)
    first.unsupported("is " + part_of(number, count) + "; give the first, " + stem +
                      ending(0, count));
  for (int64_t part = 1; part < count; ++part)
    first.add(open_part(stem + ending(part, count), path, part, count));
  const auto tensors = static_cast<int64_t>(first.tensors_.size());
  const int64_t expected = first.integer("split.tensors.count", 0, INT32_MAX, tensors);
  if (tensors != expected)
    first.fail("its parts hold " + std::to_string(tensors) + " tensors, not the " +
               std::to_string(expected) + " of key split.tensors.count; get all parts again");
  return first;
}

}  // namespace klens
