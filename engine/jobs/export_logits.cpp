#include "engine/jobs/export_logits.h"

#include <algorithm>

#include "base/error.h"
#include "engine/session.h"
#include "loaders/atomic_file.h"
#include "loaders/output_path.h"
#include "loaders/safetensors.h"

namespace klens {

void export_logits(const std::shared_ptr<const Model>& model, std::span<const int32_t> ids,
                   const std::string& path) {
  if (ids.empty()) throw Error(ErrorKind::kBadArgument, "there is no token to evaluate");
  const size_t vocab = static_cast<size_t>(model->spec().vocab);
  const TensorEntry entry{"logits",
                          DType::kF32,
                          {static_cast<int64_t>(ids.size()), model->spec().vocab},
                          ids.size() * vocab * sizeof(float)};
  check_output(path, {.ending = ".safetensors",
                      .inputs = {model->checkpoint().path},
                      .bytes = static_cast<int64_t>(entry.bytes)});
  Session session(model, 512);
  AtomicFile file(path);
  file.write(safetensors_header({&entry, 1}, {}));
  session.eval(ids, [&](int64_t, int64_t count, const float* logits) {
    file.write(std::as_bytes(std::span(logits, static_cast<size_t>(count) * vocab)));
  });
  file.commit();
}

}  // namespace klens
