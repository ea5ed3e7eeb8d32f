#include "engine/embedding.h"

#include <cmath>
#include <numeric>

#include "engine/session.h"

namespace klens {
namespace {

using Texts = std::span<const std::span<const int32_t>>;

// One text's vector while the text is read.
class Pool {
 public:
  Pool(Pooling pooling, int64_t width) : pooling_(pooling), sum_(static_cast<size_t>(width)) {}

  void add(int64_t count, const float* hidden) {
    const auto width = static_cast<int64_t>(sum_.size());
    const int64_t first = pooling_ == Pooling::kLast ? count - 1 : 0;
    if (pooling_ == Pooling::kLast) std::fill(sum_.begin(), sum_.end(), 0.0);
    for (int64_t t = first; t < count; ++t)
      for (int64_t i = 0; i < width; ++i)
        sum_[static_cast<size_t>(i)] += double{hidden[t * width + i]};
    rows_ = pooling_ == Pooling::kLast ? 1 : rows_ + count;
  }

  void write(bool normalise, float* vector) const {
    double by = 1.0 / static_cast<double>(rows_);
    const double squares = std::inner_product(sum_.begin(), sum_.end(), sum_.begin(), 0.0);
    if (normalise) by = squares > 0 ? 1 / std::sqrt(squares) : 0;
    for (size_t i = 0; i < sum_.size(); ++i) vector[i] = static_cast<float>(sum_[i] * by);
  }

 private:
  Pooling pooling_;
  std::vector<double> sum_;
  int64_t rows_ = 0;
};

// Texts that are read at the same time.
class Group {
 public:
  Group(const std::shared_ptr<const Model>& model, Texts texts, const EmbedOptions& options)
      : left_(texts.begin(), texts.end()) {
    for (size_t i = 0; i < texts.size(); ++i) {
      pools_.emplace_back(options.pooling, model->spec().d_model);
      sessions_.emplace_back(model, options.batch);
    }
    for (Pool& pool : pools_)
      sinks_.push_back(
          [&pool](int64_t, int64_t count, const float* hidden) { pool.add(count, hidden); });
  }

  void read(Progress& progress) {
    for (bool more = true; more;) {
      std::vector<Feed> feeds;
      for (size_t i = 0; i < left_.size(); ++i)
        feeds.push_back({.session = &sessions_[i], .ids = left_[i], .hidden = &sinks_[i]});
      const std::vector<Fed> done = feed_round(feeds);
      more = false;
      int64_t tokens = 0;
      for (size_t i = 0; i < done.size(); ++i) {
        if (done[i].error) throw *done[i].error;
        left_[i] = left_[i].subspan(static_cast<size_t>(done[i].tokens));
        more = more || !left_[i].empty();
        tokens += done[i].tokens;
      }
      progress.step(static_cast<double>(tokens));
    }
  }

  void write(bool normalise, float* vectors, int64_t width) const {
    for (size_t i = 0; i < pools_.size(); ++i)
      pools_[i].write(normalise, vectors + static_cast<int64_t>(i) * width);
  }

 private:
  std::vector<std::span<const int32_t>> left_;
  std::vector<Pool> pools_;
  std::vector<Session> sessions_;
  std::vector<LogitSink> sinks_;
};

// How many of the first texts fill a pass, with states of at most 256 MiB; at least one.
size_t group_size(Texts texts, int64_t batch, size_t state_bytes) {
  constexpr size_t kBytes = size_t{256} << 20;
  size_t count = 1;
  int64_t tokens = static_cast<int64_t>(texts[0].size());
  while (count < texts.size() && tokens < batch && (count + 1) * state_bytes <= kBytes)
    tokens += static_cast<int64_t>(texts[count++].size());
  return count;
}

}  // namespace

std::vector<float> embed(const std::shared_ptr<const Model>& model, Texts texts,
                         const EmbedOptions& options, Progress& progress) {
  const int64_t width = model->spec().d_model;
  int64_t tokens = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty())
      throw Error(ErrorKind::kBadArgument, "text " + std::to_string(i + 1) + " of " +
                                               std::to_string(texts.size()) + " has no tokens");
    model->check_ids(texts[i]);
    tokens += static_cast<int64_t>(texts[i].size());
  }
  std::vector<float> vectors(texts.size() * static_cast<size_t>(width));
  const size_t state_bytes = Session(model, options.batch).bytes();
  progress.stage("embedding", static_cast<double>(tokens));
  for (size_t at = 0; at < texts.size();) {
    const size_t count = group_size(texts.subspan(at), options.batch, state_bytes);
    Group group(model, texts.subspan(at, count), options);
    group.read(progress);
    group.write(options.normalise, vectors.data() + static_cast<int64_t>(at) * width, width);
    at += count;
  }
  return vectors;
}

}  // namespace klens
