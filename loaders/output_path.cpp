#include "loaders/output_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "loaders/atomic_file.h"

namespace klens {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as the kernel allows

// Endings that say what a file is. A session file is a safetensors file by its make.
constexpr const char* kEndings[] = {".klens", ".gguf", ".safetensors", ".bin", ".pt",
                                    ".pth",   ".onnx", ".json",        ".svg", ".html"};

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// N if the path is /proc/self/fd/N under any of its names, else -1.
int descriptor_of(const std::string& path) {
  std::error_code ec;
  const fs::path folder = fs::canonical(folder_of(path), ec);
  if (ec || folder != "/proc/" + std::to_string(::getpid()) + "/fd") return -1;
  const std::string name = fs::path(path).filename().string();
  if (name.empty() || name.size() > 6 || name.find_first_not_of("0123456789") != std::string::npos)
    return -1;
  return std::stoi(name);
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

void refuse_input(const std::string& path, const struct stat& output, const std::string& input) {
  const auto refuse = [&](const std::string& file) {
    throw Error(ErrorKind::kBadArgument, path + ": is the file that is read" +
                                             (file == path ? "" : " as " + file) +
                                             "; name another for the output");
  };
  struct stat info {};
  if (::stat(input.c_str(), &info) != 0) return;
  if (same_file(output, info)) refuse(input);
  if (!S_ISDIR(info.st_mode)) return;
  std::error_code ec;
  for (fs::directory_iterator entry(input, ec), end; !ec && entry != end; entry.increment(ec))
    if (::stat(entry->path().c_str(), &info) == 0 && same_file(output, info))
      refuse(entry->path().string());
}

void refuse_other_format(const std::string& path, const std::string& ending) {
  if (ending.empty()) return;
  std::string own = fs::path(path).extension().string();
  std::transform(own.begin(), own.end(), own.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (own == ending ||
      std::find(std::begin(kEndings), std::end(kEndings), own) == std::end(kEndings))
    return;
  throw Error(ErrorKind::kBadArgument, path + ": ends in " + own +
                                           ", but what is written there is another format; name "
                                           "it NAME" +
                                           ending);
}

}  // namespace

OutputTarget output_target(const std::string& path) {
  OutputTarget target{.path = path};
  for (int links = 0;; ++links) {
    target.descriptor = descriptor_of(target.path);
    if (target.descriptor >= 0) {
      target.stream = true;
      return target;
    }
    std::error_code ec;
    if (!fs::is_symlink(fs::symlink_status(target.path, ec))) break;
    if (links == kMostLinks)
      throw Error(ErrorKind::kIo, path + ": is a ring of links; name a file");
    const fs::path next = fs::read_symlink(target.path, ec);
    if (ec) break;
    target.path = (fs::path(folder_of(target.path)) / next).string();  // next: "/..." wins
  }
  struct stat info {};
  if (::stat(target.path.c_str(), &info) != 0) return target;
  if (S_ISDIR(info.st_mode)) throw Error(ErrorKind::kIo, path + ": is a folder; name a file in it");
  target.stream = !S_ISREG(info.st_mode);
  return target;
}

void check_free_space(const std::string& path, int64_t bytes) {
  const std::string folder = folder_of(output_target(path).path);
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0 || info.f_blocks == 0) return;  // of no known size
  const auto available = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  if (static_cast<double>(bytes) <= available) return;
  throw Error(ErrorKind::kIo, path + ": at least " + std::to_string(bytes) +
                                  " bytes are to be written, " +
                                  std::to_string(static_cast<int64_t>(available)) +
                                  " are free there; free some space or name another folder");
}

void check_output(const std::string& path, const OutputCheck& check) {
  refuse_other_format(path, check.ending);
  const OutputTarget target = output_target(path);
  struct stat info {};
  const bool there = target.descriptor >= 0 ? ::fstat(target.descriptor, &info) == 0
                                            : ::stat(target.path.c_str(), &info) == 0;
  if (there && S_ISREG(info.st_mode))
    for (const std::string& input : check.inputs) refuse_input(path, info, input);
  if (target.stream && check.streams) return;
  AtomicFile probe(path);  // never committed: creates its temporary file and takes it away
  check_free_space(path, std::max<int64_t>(check.bytes, 1));
}

}  // namespace klens
