#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace klens {

// What a file is, told by its first bytes: names lie (downloads lose their endings, stores have
// none).
enum class FileKind {
  kUnknown,
  kGguf,
  kSafetensors,  // .klens files and saved sessions among them
  kPytorch,      // a zip archive or a pickle
  kLfsPointer,   // the text that git-lfs leaves in place of a large file
  kHtml,         // what a browser's address gives in place of the file
};

FileKind kind_of_bytes(std::span<const std::byte> bytes);

// Of a file, by its first bytes; kUnknown where there is no regular file that can be read.
FileKind kind_of_file(const std::string& path);

// "a GGUF model", ...; "" for kUnknown.
const char* kind_name(FileKind kind);

// Throws Error (kBadFile) naming the cure if these bytes stand in place of another file: a git-lfs
// pointer, an HTML page.
void refuse_stand_in(std::span<const std::byte> bytes, const std::string& path);

}  // namespace klens
