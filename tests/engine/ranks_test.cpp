// Processes that share a profile, here as threads: each with a model of its own, and a gather
// between them in place of MPI's.
#include "engine/jobs/ranks.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>

#include "engine/jobs/profile_job.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/validate.h"
#include "klens/klens.h"
#include "loaders/mapped_file.h"
#include "loaders/profile_json.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

class Threads {
 public:
  explicit Threads(size_t count) : count_(count) {}

  // body(ranks) on every rank; what each threw, "" where it did not.
  std::vector<std::string> run(const std::function<void(Ranks&)>& body) {
    std::vector<std::string> errors(count_);
    std::vector<std::thread> threads;
    for (size_t r = 0; r < count_; ++r)
      threads.emplace_back([&, r] {
        Ranks ranks(r, count_, [this, r](const void* own, size_t bytes, void* all) {
          return gather(r, own, bytes, all);
        });
        try {
          body(ranks);
        } catch (const std::exception& error) {
          errors[r] = error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    return errors;
  }

  // The rank is gone: who waits for it, or comes to, is told.
  void lose() {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    changed_.notify_all();
  }

 private:
  int gather(size_t rank, const void* own, size_t bytes, void* all) {
    std::unique_lock lock(mutex_);
    if (lost_) return 1;
    all_.resize(bytes * count_);
    std::memcpy(all_.data() + rank * bytes, own, bytes);
    const size_t round = round_;
    if (++here_ == count_) {
      here_ = 0;
      given_ = all_;
      ++round_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return round_ != round || lost_; });
    if (round_ == round) return 1;
    std::memcpy(all, given_.data(), given_.size());
    return 0;
  }

  const size_t count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<char> all_, given_;
  size_t here_ = 0, round_ = 0;
  bool lost_ = false;
};

ProfileOptions small_ranks() {
  ProfileOptions options;
  options.ctx = 24;
  options.windows = 5;
  options.formats = "int4g32,int8";
  return options;
}

std::shared_ptr<const Model> small_model() { return open_model(data_path("goldens/mamba"), 1); }

// profile.json with a validation; fn: what is told of its progress.
std::string ranks_profile(const Model& model, const ProfileOptions& options, Ranks& ranks,
                          const ProgressFn& fn = nullptr) {
  Progress progress(fn, std::chrono::milliseconds(0));
  const auto journal = open_journal(model, options, ranks);
  const ProfileRun run = run_profile(model, nullptr, options, progress, go_on, *journal);
  const Windows windows(2, std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8});
  const Validation judged = validate(model, run, windows, "text", progress, *journal);
  std::string text = profile_to_json(run.profile) + std::to_string(judged.ppl);
  for (const auto& candidate : judged.candidates)
    text += " " + candidate.unit + " " + std::to_string(candidate.kl);
  return text;
}

std::string alone(const ProfileOptions& options) {
  Ranks ranks;
  return ranks_profile(*small_model(), options, ranks);
}

}  // namespace

TEST_CASE("ranks: each gets what all give, whatever its size", "[ranks]") {
  for (const size_t count : {2, 3})
    for (const size_t bytes : {0, 1, 999, 1000, 1001, 66536, 66537, 300000}) {
      CAPTURE(count, bytes);
      // Other sizes on others, so that the last part of one is nothing of another.
      const auto text = [&](size_t r) {
        return std::string(bytes / (r + 1), static_cast<char>('a' + r));
      };
      std::atomic<int> wrong = 0;
      Threads threads(count);
      const auto errors = threads.run([&](Ranks& ranks) {
        for (int again = 0; again < 2; ++again) {
          const auto given = ranks.exchange(text(ranks.index()));
          for (size_t r = 0; r < count; ++r)
            if (given.size() != count || given[r] != text(r)) ++wrong;
        }
      });
      CHECK(wrong == 0);
      CHECK(errors == std::vector<std::string>(count));
    }
}

TEST_CASE("ranks: the failure of one is that of all, and none waits for it", "[ranks]") {
  Threads threads(3);
  const auto errors = threads.run([](Ranks& ranks) {
    together(ranks, [&] {
      ranks.exchange("first");
      if (ranks.index() == 1) throw Error(ErrorKind::kIo, "the disk is full");
      ranks.exchange("second");
    });
  });
  CHECK(errors == std::vector<std::string>{"rank 1: the disk is full", "the disk is full",
                                           "rank 1: the disk is full"});

  Threads others(3);
  const auto lost = others.run([&](Ranks& ranks) {
    together(ranks, [&] {
      if (ranks.index() == 2) return others.lose();
      ranks.exchange("first");
    });
  });
  for (const std::string& error : lost) CHECK_THAT(error, Catch::Contains("--resume"));
}

TEST_CASE("ranks: any number of them measures the same, and each does its share", "[ranks]") {
  const ProfileOptions options = small_ranks();
  const std::string whole = alone(options);
  for (const size_t count : {2, 3, 4}) {
    CAPTURE(count);
    std::vector<std::string> texts(count);
    std::vector<int64_t> runs(count);
    Threads threads(count);
    const auto errors = threads.run([&](Ranks& ranks) {
      const auto model = small_model();
      together(ranks, [&] { texts[ranks.index()] = ranks_profile(*model, options, ranks); });
      runs[ranks.index()] = model->block_runs();
    });
    CHECK(errors == std::vector<std::string>(count));
    for (const std::string& text : texts) CHECK(text == whole);
    // Half and less, but for passes that see what units are given, and begin a window.
    const auto model = small_model();
    Ranks one;
    ranks_profile(*model, options, one);
    const int64_t each = (2 * options.windows + 1 + 4 + 2) * model->blocks();
    for (const int64_t run : runs)
      CHECK(run < each + 2 * (model->block_runs() - each) / static_cast<int64_t>(count + 1));
  }
}

TEST_CASE("ranks: what was told is kept, and any number of them goes on from it", "[ranks]") {
  const TemporaryFolder folder;
  ProfileOptions options = small_ranks();
  const std::string whole = alone(options);
  options.state_path = folder / "state";
  for (const size_t stopped : {0, 1}) {
    CAPTURE(stopped);
    std::filesystem::remove(options.state_path);
    options.resume = false;
    Threads threads(2);
    const auto errors = threads.run([&](Ranks& ranks) {
      const auto model = small_model();
      const ProgressFn stop = [&](const ProgressReport& report) {
        return ranks.index() == stopped && report.stage == std::string("profile") &&
               report.fraction > 0.4;
      };
      together(ranks, [&] { ranks_profile(*model, options, ranks, stop); });
    });
    CHECK_THAT(errors[stopped], Catch::EndsWith("interrupted"));
    CHECK_THAT(errors[1 - stopped], Catch::StartsWith("rank " + std::to_string(stopped)));
    const std::string kept = read_text(options.state_path);
    CHECK(std::ranges::count(kept, '\n') > options.windows + 1);  // more than samples

    options.resume = true;
    for (const size_t count : {2, 3, 1}) {
      CAPTURE(count);
      std::ofstream(options.state_path, std::ios::binary) << kept;
      std::vector<std::string> texts(count);
      Threads more(count);
      CHECK(more.run([&](Ranks& ranks) {
        const auto model = small_model();
        together(ranks, [&] { texts[ranks.index()] = ranks_profile(*model, options, ranks); });
      }) == std::vector<std::string>(count));
      for (const std::string& text : texts) CHECK(text == whole);
    }
  }
}

TEST_CASE("ranks that are not of one run are refused, all with the same reason", "[ranks]") {
  Threads threads(2);
  const auto errors = threads.run([](Ranks& ranks) {
    const auto model = small_model();
    ProfileOptions options = small_ranks();
    options.seed = ranks.index();
    together(ranks, [&] { ranks_profile(*model, options, ranks); });
  });
  for (const std::string& error : errors)
    CHECK_THAT(error,
               Catch::Contains("rank 1 has another model, calibration text or other option"));
}

TEST_CASE("quantize refuses ranks, which would all write its file", "[ranks]") {
  klens_model* model = nullptr;
  REQUIRE(klens_model_open(data_path("goldens/mamba").c_str(), nullptr, &model, nullptr) ==
          KLENS_OK);
  klens_ranks ranks{};
  ranks.size = sizeof ranks;
  klens_profile_options profile{};
  profile.size = sizeof profile;
  profile.ranks = &ranks;
  klens_quantize_options options{};
  options.size = sizeof options;
  options.dry_run = 1;
  options.profile = &profile;
  char* json = nullptr;
  klens_error error{};
  CHECK(klens_quantize(model, nullptr, &options, &json, &error) == KLENS_BAD_ARGUMENT);
  CHECK_THAT(error.message, Catch::Contains("profile with ranks"));
  klens_model_free(model);
}

}  // namespace klens
