#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace klens {

// Where a file that is to be written ends up. Links are followed, also one to a name that is not
// there yet: what a link points to is written, the link stays.
struct OutputTarget {
  std::string path;
  int descriptor = -1;  // the path is an open descriptor of this process (/dev/stdout), or -1
  bool stream = false;  // a device, a pipe or a descriptor: written as it comes, not replaced
};

// Throws Error (kIo) for a folder, a ring of links.
OutputTarget output_target(const std::string& path);

struct OutputCheck {
  std::string ending;               // the format's own, ".klens", ".json"; "": none
  std::vector<std::string> inputs;  // files, or folders whose every file counts
  int64_t bytes = 0;                // at least so many will be written
  bool streams = false;             // whether a device or a pipe will do
};

// Throws Error unless a file can be written at path: before a long job rather than after it. Names
// that end as another format's do, one of the inputs (by device and inode, so through links of
// either kind), a missing or locked folder, and a disk with less room than bytes are refused.
void check_output(const std::string& path, const OutputCheck& check);

// "2400000 bytes are needed in FOLDER, 1000 are free": throws that Error (kIo), or returns.
void check_free_space(const std::string& path, int64_t bytes);

}  // namespace klens
