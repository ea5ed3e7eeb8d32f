#include <cstdlib>

#include "apps/ranks/mpi.h"

namespace klens::apps {

Launch launched() {
  // Open MPI's mpirun, the process managers of MPICH and its kin, and srun.
  static constexpr struct {
    const char *count, *rank;
  } kLaunchers[] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                    {"PMI_SIZE", "PMI_RANK"},
                    {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
  for (const auto& [count, rank] : kLaunchers) {
    const char *count_text = std::getenv(count), *rank_text = std::getenv(rank);
    if (count_text == nullptr || rank_text == nullptr) continue;
    const Launch launch{.rank = std::atoi(rank_text), .count = std::atoi(count_text)};
    if (launch.rank >= 0 && launch.rank < launch.count) return launch;
  }
  return {};
}

}  // namespace klens::apps
