#include "loaders/file_kind.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace klens {
namespace {

constexpr size_t kEnough = 256;

bool begins_as_html(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  std::string lower(text.substr(0, 16));
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower.starts_with("<!doctype html") || lower.starts_with("<html");
}

// The length of a JSON header, little endian, and the header.
bool begins_as_safetensors(std::string_view text) {
  if (text.size() < 9 || text[8] != '{') return false;
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(text[i]);
  return length >= 2 && length <= 100'000'000;
}

}  // namespace

FileKind kind_of_bytes(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kEnough));
  if (text.starts_with("GGUF")) return FileKind::kGguf;
  if (text.starts_with("version https://git-lfs")) return FileKind::kLfsPointer;
  if (begins_as_html(text)) return FileKind::kHtml;
  if (begins_as_safetensors(text)) return FileKind::kSafetensors;
  if (text.starts_with("PK\x03\x04") ||
      (text.starts_with("\x80") && text.size() > 1 && text[1] >= 2 && text[1] <= 5))
    return FileKind::kPytorch;
  return FileKind::kUnknown;
}

FileKind kind_of_file(const std::string& path) {
  // O_NONBLOCK: a pipe is not waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return FileKind::kUnknown;
  struct stat info {};
  std::byte bytes[kEnough];
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const ssize_t got = regular ? ::pread(fd, bytes, sizeof bytes, 0) : 0;
  ::close(fd);
  return got > 0 ? kind_of_bytes({bytes, static_cast<size_t>(got)}) : FileKind::kUnknown;
}

const char* kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kGguf:
      return "a GGUF model";
    case FileKind::kSafetensors:
      return "a safetensors file";
    case FileKind::kPytorch:
      return "a PyTorch file";
    case FileKind::kLfsPointer:
      return "a git-lfs pointer";
    case FileKind::kHtml:
      return "an HTML page";
    case FileKind::kUnknown:
      break;
  }
  return "";
}

void refuse_stand_in(std::span<const std::byte> bytes, const std::string& path) {
  const FileKind kind = kind_of_bytes(bytes);
  if (kind == FileKind::kLfsPointer)
    throw Error(ErrorKind::kBadFile,
                path +
                    ": is a git-lfs pointer, not the file that it stands for; get that with "
                    "`git lfs pull` in its repository");
  if (kind == FileKind::kHtml)
    throw Error(ErrorKind::kBadFile,
                path +
                    ": is an HTML page, not the file that it was saved as; download the file "
                    "itself");
}

}  // namespace klens
