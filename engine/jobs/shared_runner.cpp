#include "engine/jobs/shared_runner.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <numeric>
#include <thread>

#include "base/error.h"

namespace klens {
namespace {

constexpr std::chrono::milliseconds kBetweenExchanges{500};

// Students that run in a thread of their own, while the caller waits for scores.
class OwnShare {
 public:
  OwnShare(StudentRunner& runner, std::vector<Student> students)
      : students_(std::move(students)), thread_([this, &runner] { work(runner); }) {}
  // What still runs is called off.
  ~OwnShare() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    thread_.join();
  }
  OwnShare(const OwnShare&) = delete;
  OwnShare& operator=(const OwnShare&) = delete;

  // Scores since the last call, by index in `students`, once all are there or some time has gone
  // by. When there are none left, throws what a student threw.
  std::vector<std::pair<size_t, WindowScore>> wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kBetweenExchanges, [&] { return ended_; });
    if (failure_ && scores_.empty()) std::rethrow_exception(failure_);
    return std::exchange(scores_, {});
  }

 private:
  void work(StudentRunner& runner) {
    std::exception_ptr failure;
    try {
      if (!students_.empty())
        runner.run(students_, [&](size_t i, const WindowScore& score) {
          const std::lock_guard lock(mutex_);
          if (stop_) throw Error(ErrorKind::kInterrupted, "students were called off");
          scores_.emplace_back(i, score);
        });
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    ended_ = true;
    changed_.notify_all();
  }

  const std::vector<Student> students_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<size_t, WindowScore>> scores_;
  std::exception_ptr failure_;
  bool stop_ = false, ended_ = false;
  std::thread thread_;  // the last: it uses the others
};

}  // namespace

WindowScore SharedRunner::begin_window(std::span<const int32_t> ids) {
  ids_.assign(ids.begin(), ids.end());
  return runner_.begin_window(ids);
}

// The largest first, each to the rank with the least to do.
void SharedRunner::share_out(std::span<const Student> students) {
  std::vector<size_t> order(students.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(),
                           [&](size_t i) { return runner_.cost(students[i]); });
  for (const size_t i : order) {
    const auto [at, added] = owners_.try_emplace({students[i].unit, students[i].choice});
    if (!added) continue;
    std::vector<double>& work = work_[students[i].every];
    work.resize(journal_.ranks().count());
    const auto least = std::ranges::min_element(work);
    *least += runner_.cost(students[i]);
    at->second = static_cast<size_t>(least - work.begin());
  }
}

std::vector<WindowScore> SharedRunner::run(std::span<const Student> students,
                                           const OnDone& on_done) {
  if (journal_.ranks().alone()) return runner_.run(students, on_done);
  share_out(students);
  std::vector<Student> own;
  std::vector<size_t> places, missing;
  for (size_t s = 0; s < students.size(); ++s) {
    const bool mine = owner(students[s]) == journal_.ranks().index();
    if (mine) own.push_back(students[s]);
    (mine ? places : missing).push_back(s);
  }
  std::vector<WindowScore> scores(students.size());
  const auto done = [&](size_t s, const WindowScore& score) {
    scores[s] = score;
    kept_.keep(ids_, &students[s], score);
    on_done(s, score);
  };
  OwnShare share(runner_, std::move(own));
  // All ranks see the same after an exchange, so they end with the same one.
  for (size_t left = students.size(); left > 0;) {
    for (const auto& [i, score] : share.wait()) {
      done(places[i], score);
      --left;
    }
    journal_.share();
    std::erase_if(missing, [&](size_t s) {
      const auto found = kept_.find(ids_, &students[s]);
      if (!found) return false;
      done(s, *found);
      --left;
      return true;
    });
  }
  return scores;
}

}  // namespace klens
