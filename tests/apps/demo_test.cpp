// What apps/demo.sh shows at its end.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/apps/run_program.h"

namespace klens {
namespace {

using namespace testing;

// Paired, token by token; the text is long enough that the error is less than half of the difference.
TEST_CASE("a plan at the bytes of uniform int4g32 predicts better", "[slow][demo]") {
  const Folder folder;
  const std::string uniform = folder / "uniform.klens", planned = folder / "planned.klens";
  run_json({"quantize", kModel, "-o", uniform, "--uniform", "int4g32", "--no-measure", "--json"});
  const uintmax_t size = std::filesystem::file_size(uniform);
  run_json({"quantize", kModel, "-o", planned, "--size", std::to_string(size), "--windows", "12", "-c", "128",
            "--seed", "1", "--json"});
  CHECK(std::filesystem::file_size(planned) <= size);
  const nlohmann::json report = run_json(
      {"compare", uniform, planned, "-f", kModel + "/../own-text.txt", "--json"});
  CHECK(report["ln_ppl_ratio"].get<double>() < -2 * report["ln_ppl_ratio_stderr"].get<double>());
}

}  // namespace
}  // namespace klens
