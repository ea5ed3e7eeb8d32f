#pragma once
#include <cstdint>
#include <exception>
#include <functional>

#include "apps/ranks/mpi.h"
#include "klens/klens.h"

namespace klens::apps {

// What a rank but the first ends with where all fail: the first says why.
class ToldByFirst : public std::exception {
 public:
  const char* what() const noexcept override { return "rank 0 says what failed"; }
};

// This process among those that were started as one job; mostly it is alone. Whatever is begun in
// together() fails on all of them or on none, so that all of them come to the end.
class RankTeam {
 public:
  // Throws Error or UsageError where there are several and they cannot work together.
  RankTeam();
  ~RankTeam();
  RankTeam(const RankTeam&) = delete;
  RankTeam& operator=(const RankTeam&) = delete;

  bool alone() const { return launch_.count == 1; }
  // The one that reports, and writes files.
  bool first() const { return launch_.rank == 0; }
  // For the options of a job; null if alone.
  const klens_ranks* ranks() const { return alone() ? nullptr : &ranks_; }
  // This process's share of the cores that it may use, of which other ranks may use the same; 0 if
  // alone: the library decides. Ranks call it together. The first says on standard error, unless
  // quiet, if the launcher keeps cores from all of them.
  int32_t threads(bool quiet) const;
  // Runs body; where that throws on any rank, it throws on all: on the first what is to be said, on
  // others ToldByFirst.
  void together(const std::function<void()>& body) const;

 private:
  Launch launch_;
  klens_ranks ranks_{};
};

}  // namespace klens::apps
