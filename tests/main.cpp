#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/features.h"
#include "tests/skipped.h"

// With KLENS_ISA at a level that this CPU lacks, the tests would be those of a lower level once
// more: ctest shows them as skipped. So it does what left something out for lack of a file or a program.
int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  const char* level = std::getenv("KLENS_ISA");
  if (level != nullptr && *level != 0 && klens::cpu::isa_variable_error().empty() &&
      std::strcmp(level, klens::cpu::level_name()) != 0) {
    std::printf("skipped: this CPU has no %s\n", level);
    return kSkipped;
  }
  const int failures = Catch::Session().run(argc, argv);
  return failures == 0 && klens::testing::skipped ? kSkipped : failures;
}
