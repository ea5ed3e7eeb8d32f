#include <algorithm>
#include <cstring>

#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"
#include "engine/c_api/progress_fn.h"
#include "engine/embedding.h"

namespace klens {
namespace {

EmbedOptions embed_options(const klens_embed_options& given) {
  int pooling = 0;  // any number: to load it as the enum would be undefined
  static_assert(sizeof pooling == sizeof given.pooling);
  std::memcpy(&pooling, &given.pooling, sizeof pooling);
  check_range(pooling == KLENS_POOLING_LAST || pooling == KLENS_POOLING_MEAN,
              "--pooling must be last or mean");
  check_range(given.batch >= 0, "-b must be from 1");
  EmbedOptions options;
  options.pooling = pooling == KLENS_POOLING_MEAN ? Pooling::kMean : Pooling::kLast;
  options.normalise = given.normalise != 0;
  if (given.batch != 0) options.batch = given.batch;
  return options;
}

}  // namespace
}  // namespace klens

using namespace klens;

int32_t klens_model_hidden_size(const klens_model* model) {
  return static_cast<int32_t>(model->model->spec().d_model);
}

klens_status klens_embed(klens_model* model, const int32_t* const* ids, const size_t* counts,
                         size_t text_count, const klens_embed_options* options, float* vectors,
                         klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    const klens_embed_options given = read_options(options);
    const EmbedOptions how = embed_options(given);
    if (text_count == 0) return;
    require(ids, "ids");
    require(counts, "counts");
    require(vectors, "vectors");
    std::vector<std::span<const int32_t>> texts;
    for (size_t i = 0; i < text_count; ++i) {
      if (counts[i] != 0) require(ids[i], "ids");
      texts.emplace_back(ids[i], counts[i]);
    }
    Progress progress(progress_fn(given.progress, given.user));
    const std::vector<float> made = embed(model->model, texts, how, progress);
    std::copy(made.begin(), made.end(), vectors);
  });
}
