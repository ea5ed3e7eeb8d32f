#include "engine/c_api/guard.h"
#include "loaders/atomic_file.h"
#include "loaders/output_path.h"

using namespace klens;

klens_status klens_check_output(const char* path, const klens_output_options* options,
                                klens_error* error) {
  return guarded(error, [&] {
    require(path, "path");
    const klens_output_options given = read_options(options);
    OutputCheck check{.ending = given.ending == nullptr ? "" : given.ending,
                      .inputs = {},
                      .bytes = given.bytes,
                      .streams = given.streams != 0};
    if (given.input_count != 0) require(given.inputs, "inputs");
    for (size_t i = 0; i < given.input_count; ++i) {
      require(given.inputs[i], "input");
      check.inputs.emplace_back(given.inputs[i]);
    }
    check_output(path, check);
  });
}

klens_status klens_write_file(const char* path, const void* bytes, size_t count,
                              klens_error* error) {
  return guarded(error, [&] {
    require(path, "path");
    if (count != 0) require(bytes, "bytes");
    AtomicFile file(path, Streams::kAllowed);
    file.write({static_cast<const std::byte*>(bytes), count});
    file.commit();
  });
}
