#include "engine/jobs/kept_bytes.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "loaders/checksum.h"

namespace klens {
namespace {

namespace fs = std::filesystem;

// Bytes of the disk that are left alone.
constexpr uint64_t kLeastFree = uint64_t{1} << 30;

bool has_room(const std::string& folder, std::span<const KeptBytes::Part> parts) {
  uint64_t bytes = kLeastFree;
  for (const KeptBytes::Part part : parts) bytes += part.size();
  std::error_code ec;
  const fs::space_info space = fs::space(folder, ec);
  return !ec && space.available >= bytes;
}

bool write(const std::string& path, const std::string& head,
           std::span<const KeptBytes::Part> parts) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << head;
  for (const KeptBytes::Part part : parts)
    file.write(reinterpret_cast<const char*>(part.data()),
               static_cast<std::streamsize>(part.size()));
  file.close();
  return file.good();
}

// A file's first line: a checksum and the sizes of the parts behind it. None of a file that is no
// such, or is shorter.
std::vector<KeptBytes::Part> parts_of(KeptBytes::Part bytes) {
  constexpr size_t kLongest = 4096;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t end = text.substr(0, kLongest).find('\n');
  if (end == std::string_view::npos) return {};
  std::istringstream line{std::string(text.substr(0, end))};
  std::string checksum;
  line >> checksum;
  KeptBytes::Part left = bytes.subspan(end + 1);
  std::vector<KeptBytes::Part> parts;
  for (size_t size = 0; line >> size; left = left.subspan(size)) {
    if (size > left.size()) return {};
    parts.push_back(left.first(size));
  }
  return parts;
}

}  // namespace

std::string KeptBytes::path_of(const std::string& name) const {
  return folder_ + "/" + xxh3_hex(std::as_bytes(std::span(name)));
}

std::string KeptBytes::head_of(const std::string& name, std::span<const Part> parts) const {
  std::string all = run_ + "\n" + name, sizes;
  for (const Part part : parts) {
    all += "\n" + xxh3_hex(part);
    sizes += " " + std::to_string(part.size());
  }
  all += sizes;
  return xxh3_hex(std::as_bytes(std::span(all))) + sizes + "\n";
}

void KeptBytes::keep(const std::string& name, std::span<const Part> parts) {
  if (!keeps()) return;
  std::error_code ec;
  std::call_once(begun_, [&] {
    if (!resumed_) fs::remove_all(folder_, ec);
    fs::create_directory(folder_, ec);
  });
  const std::string path = path_of(name), unfinished = path + "-" + std::to_string(written_++);
  if (has_room(folder_, parts) && write(unfinished, head_of(name, parts), parts))
    fs::rename(unfinished, path, ec);
  else
    ec = std::make_error_code(std::errc::no_space_on_device);
  if (!ec) return;
  full_ = true;
  fs::remove(unfinished, ec);
}

std::optional<KeptBytes::Piece> KeptBytes::find(const std::string& name) const {
  std::error_code ec;
  const std::string path = path_of(name);
  // What this run keeps it does find, once it has begun anew.
  if (folder_.empty() || (!resumed_ && written_ == 0) || !fs::is_regular_file(path, ec)) return {};
  try {
    Piece piece{.file = std::make_unique<MappedFile>(path), .parts = {}};
    piece.parts = parts_of(piece.file->bytes());
    const std::string head = head_of(name, piece.parts);
    const Part bytes = piece.file->bytes();
    if (bytes.size() < head.size() || std::memcmp(bytes.data(), head.data(), head.size()) != 0)
      return {};
    return piece;
  } catch (const Error&) {
    return {};  // it cannot be read, or is gone
  }
}

void KeptBytes::forget(const std::string& name) {
  std::error_code ec;
  if (!folder_.empty()) fs::remove(path_of(name), ec);
}

void KeptBytes::remove() {
  std::error_code ec;
  if (!folder_.empty()) fs::remove_all(folder_, ec);
}

}  // namespace klens
