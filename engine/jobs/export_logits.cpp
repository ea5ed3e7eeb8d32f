#include "engine/jobs/export_logits.h"

#include <algorithm>

#include "engine/session.h"
#include "loaders/atomic_file.h"
#include "loaders/error.h"
#include "loaders/safetensors.h"

namespace klens {

void export_logits(const std::shared_ptr<const Model>& model, std::span<const int32_t> ids,
                   const std::string& path) {
  if (ids.empty()) throw Error(ErrorKind::kBadArgument, "there is no token to evaluate");
  model->check_ids(ids);
  constexpr size_t kBatch = 256;  // logits of a part of the sequence are in memory at once
  const size_t vocab = static_cast<size_t>(model->spec().vocab);
  const TensorEntry entry{"logits",
                          DType::kF32,
                          {static_cast<int64_t>(ids.size()), model->spec().vocab},
                          ids.size() * vocab * sizeof(float)};
  Session session(model, kBatch);
  AtomicFile file(path);
  file.write(safetensors_header({&entry, 1}, {}));
  std::vector<float> logits(std::min(kBatch, ids.size()) * vocab);
  for (size_t t = 0; t < ids.size(); t += kBatch) {
    const size_t count = std::min(kBatch, ids.size() - t);
    session.eval(ids.subspan(t, count), logits.data());
    file.write(std::as_bytes(std::span(logits.data(), count * vocab)));
  }
  file.commit();
}

}  // namespace klens
