#include "apps/ranks/mpi.h"

#include <mpi.h>

#include <chrono>
#include <thread>

#include "apps/cli/error.h"

namespace klens::apps {
namespace {

// MPI would wait for others with a core of its own, at full speed, which their students need.
constexpr std::chrono::microseconds kLook{200};

}  // namespace

void mpi_begin(const Launch& launch) {
  int provided = 0, rank = 0, count = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &count);
  if (rank == launch.rank && count == launch.count) return;
  MPI_Finalize();
  throw Error("the launcher has started " + std::to_string(launch.count) +
              " processes, of which MPI knows " + std::to_string(count) +
              ": start klens by the mpirun of the MPI that it was built with");
}

void mpi_end() { MPI_Finalize(); }

int mpi_all_gather(void*, const void* own, size_t bytes, void* all) {
  const int count = static_cast<int>(bytes);
  MPI_Request request;
  if (MPI_Iallgather(own, count, MPI_BYTE, all, count, MPI_BYTE, MPI_COMM_WORLD, &request) !=
      MPI_SUCCESS)
    return 1;
  for (;;) {
    int done = 0;
    if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return 1;
    if (done != 0) return 0;
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace klens::apps
