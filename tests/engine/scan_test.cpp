#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/cpu/lane.h"
#include "engine/model.h"
#include "loaders/checkpoint.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

// The residual stream after all blocks of `tokens` made-up tokens, and the state they leave.
struct Result {
  std::vector<float> x, state;
};

Result forward(const Model& model, int64_t tokens, const Executor& executor) {
  CpuLane lane(model.device(), executor);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < tokens; ++t)
    ids.push_back(static_cast<int32_t>(t * t % model.spec().vocab));
  SequenceState state = model.initial_state();
  const int64_t before = model.prefix_rows();
  const Sequence sequence{
      .state = &state, .row = 0, .tokens = tokens, .position = before, .horizon = before + tokens};
  Result result;
  result.x.resize(static_cast<size_t>(tokens * model.spec().d_model));
  const Rows x = lane.take(tokens, model.spec().d_model);
  model.run({.ids = ids, .sequences = {&sequence, 1}, .weights = model.weights()}, x, lane);
  std::copy_n(lane.host(x), result.x.size(), result.x.begin());
  const std::vector<std::byte> bytes = state.slots.read();
  result.state.resize(bytes.size() / sizeof(float));
  std::memcpy(result.state.data(), bytes.data(), bytes.size());
  return result;
}

void check_near(const std::vector<float>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::fabs(double{got[i]} - want[i]) / (1 + std::fabs(want[i])));
  CHECK(worst <= 2e-4);
  CHECK(!std::isnan(worst));
}

}  // namespace

// The models are so narrow that few threads are many.
TEST_CASE("a sequence scanned in parts of time is what it is scanned in one go", "[session]") {
  for (const char* name : {"mamba", "falcon_mamba", "jamba"}) {
    CAPTURE(name);
    const Model model(open_checkpoint(data_path(std::string("goldens/") + name), true),
                      ModelOptions{.threads = 1});
    Team team(3);
    bool differs = false;  // or nothing would have been cut
    for (const int64_t tokens : {100, 331}) {
      const Result one = forward(model, tokens, Executor());
      for (const int threads : {6, 24, 61}) {
        CAPTURE(tokens, threads);
        const Result parts = forward(model, tokens, Executor(&team, threads));
        check_near(parts.x, one.x);
        check_near(parts.state, one.state);
        differs = differs || parts.x != one.x;
      }
    }
    CHECK(differs);
  }
}

}  // namespace klens
