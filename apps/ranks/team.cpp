#include "apps/ranks/team.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "apps/cli/error.h"

namespace klens::apps {
namespace {

// A rank's machine, and the cores there that it may use.
struct Place {
  char host[64];
  cpu_set_t cores;
};

Place own_place() {
  Place place{};
  ::gethostname(place.host, sizeof place.host - 1);
  ::sched_getaffinity(0, sizeof place.cores, &place.cores);
  return place;
}

// What a rank failed with; "" where it did not.
struct Told {
  char message[1024];
};

// Cores that the launcher may use and no rank on this machine.
int cores_kept_back(const cpu_set_t& used) {
  cpu_set_t launcher;
  if (::sched_getaffinity(::getppid(), sizeof launcher, &launcher) != 0) return 0;
  cpu_set_t both;
  CPU_AND(&both, &launcher, &used);
  return CPU_COUNT(&launcher) - CPU_COUNT(&both);
}

}  // namespace

RankTeam::RankTeam() : launch_(launched()) {
  if (alone()) return;
  mpi_begin(launch_);
  ::setenv("NO_COLOR", "1",
           0);  // mpirun gives its processes a terminal, whatever its own output is
  ranks_.size = sizeof ranks_;
  ranks_.rank = launch_.rank;
  ranks_.count = launch_.count;
  ranks_.all_gather = mpi_all_gather;
}

RankTeam::~RankTeam() {
  if (!alone()) mpi_end();
}

int32_t RankTeam::threads(bool quiet) const {
  if (alone()) return 0;
  const Place own = own_place();
  std::vector<Place> all(static_cast<size_t>(launch_.count));
  if (ranks_.all_gather(ranks_.user, &own, sizeof own, all.data()) != 0) return 0;
  std::erase_if(all, [&](const Place& place) {
    return std::strncmp(place.host, own.host, sizeof own.host) != 0;
  });
  cpu_set_t used;
  CPU_ZERO(&used);
  double share = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    const auto users = std::ranges::count_if(
        all, [&](const Place& place) { return CPU_ISSET(core, &place.cores) != 0; });
    if (users > 0) CPU_SET(core, &used);
    if (CPU_ISSET(core, &own.cores)) share += 1.0 / static_cast<double>(users);
  }
  if (const int kept = cores_kept_back(used); first() && !quiet && kept > 0)
    std::fprintf(stderr,
                 "klens: note: mpirun has bound its processes to cores, and %d here are left idle: "
                 "mpirun --bind-to none lets klens use them\n",
                 kept);
  return std::max(1, static_cast<int32_t>(share + 1e-6));
}

void RankTeam::together(const std::function<void()>& body) const {
  if (alone()) return body();
  Told told{};
  std::exception_ptr own;
  const auto failed = [&](const char* message) {
    own = std::current_exception();
    std::snprintf(told.message, sizeof told.message, "%s", *message == '\0' ? "?" : message);
  };
  std::vector<Told> all(static_cast<size_t>(launch_.count));
  try {
    body();
  } catch (const std::bad_alloc&) {
    failed("out of memory");
  } catch (const std::exception& error) {
    failed(error.what());
  }
  const bool gone = ranks_.all_gather(ranks_.user, &told, sizeof told, all.data()) != 0;
  if (gone) throw Error("one of the processes is gone");
  const auto other =
      std::ranges::find_if(all, [](const Told& one) { return one.message[0] != '\0'; });
  if (other == all.end()) return;
  if (!first()) throw ToldByFirst();
  if (own) std::rethrow_exception(own);
  throw Error("rank " + std::to_string(other - all.begin()) + ": " + other->message);
}

}  // namespace klens::apps
