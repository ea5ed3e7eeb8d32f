#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace klens::apps {

// The whole file; "-" is standard input. Throws Error.
std::string read_file(const std::string& path);
// Token ids: decimal numbers between white space, each from 0 to vocab - 1, at least one. Throws
// Error with the place of the first that is not.
std::vector<int32_t> read_ids(const std::string& path, int32_t vocab);
// The same of what is read already; name: what messages call it.
std::vector<int32_t> parse_ids(const std::string& content, const std::string& name, int32_t vocab);
// path is whole or untouched; links are followed, devices and pipes written to. Throws.
void write_file(const std::string& path, std::string_view content);
// Throws if nothing can be written at path, if it is one of the inputs, or if its name ends as
// another format's than `ending`: before a long job rather than after it. "" and "-" among the
// inputs are none. streams: a device or a pipe will do.
void check_output(const std::string& path, const char* ending,
                  const std::vector<std::string>& inputs, bool streams = true);

// A path as a shell would take it: "~" and "~/..." are the user's home folder, "~name" is name's.
// What names no user stays as it is.
std::string expand_home(const std::string& path);

}  // namespace klens::apps
