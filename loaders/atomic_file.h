#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace klens {

// Whether a device, a pipe or an open descriptor (/dev/stdout) will do in place of a file.
enum class Streams { kRefused, kAllowed };

// Writes a file so that its name always holds either what it held before or the whole new contents:
// a temporary file beside it, fsync, rename. A file that is never committed leaves nothing behind
// unless the process is killed, and then only the temporary file, NAME.tmp-*, which the next
// AtomicFile of that name removes. Of a link, what it points to is replaced. A stream is written to
// as the bytes come.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path, Streams streams = Streams::kRefused);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // All throw Error (kIo) naming the file: no such folder, no permission, disk full, not a regular
  // file.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  // Overwrites the first bytes, for a header whose contents are known last; not of a stream.
  void write_at_start(std::string_view text);
  void commit();

 private:
  [[noreturn]] void fail(const char* what);

  std::string path_, target_, temporary_;  // as named; links followed; "" once there is none
  int fd_ = -1;
};

}  // namespace klens
