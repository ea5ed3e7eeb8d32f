#pragma once
#include <cstddef>
#include <string>

namespace klens::apps {

// How many processes a launcher (mpirun, srun) has started as one job, and which of them this is.
struct Launch {
  int rank = 0, count = 1;
};
// By the environment that launchers set.
Launch launched();

// The few functions of MPI that a job needs. A build without MPI has others in their place.

// Throws Error where this build has no MPI, or MPI knows other processes than the launcher does.
void mpi_begin(const Launch& launch);
void mpi_end();
// As klens_ranks::all_gather.
int mpi_all_gather(void* user, const void* own, size_t bytes, void* all);

}  // namespace klens::apps
