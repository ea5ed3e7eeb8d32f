// Prompts on OpenCL, whose scans go in chunks: which kernels do it, and that cuts do not show.
#include <catch2/catch.hpp>
#include <random>

#include "engine/cpu/step_clock.h"
#include "tests/engine/opencl_device.h"

namespace klens {
namespace {

using namespace klens::testing;

std::vector<int32_t> long_ids(const Golden& golden, size_t count) {
  std::vector<int32_t> many;
  while (many.size() < count)
    many.insert(many.end(), golden.input_ids.begin(), golden.input_ids.end());
  many.resize(count);
  return many;
}

std::vector<float> last_logits(const std::shared_ptr<const Model>& model,
                               std::span<const int32_t> ids, int64_t batch) {
  Session session(model, batch);
  session.eval(ids, nullptr);
  return {session.logits().begin(), session.logits().end()};
}

// Outputs of a scan whose states between chunks take more room than is given at once.
std::vector<float> scan_of_large_states(const std::vector<int64_t>& calls) {
  const int64_t heads = 128, head_dim = 64, groups = 2, states = 128, inner = heads * head_dim;
  const StateSlot slot{.kind = StateSlot::Kind::kSsd,
                       .channels = inner,
                       .heads = heads,
                       .groups = groups,
                       .states = states};
  OpenClDevice device(1, -1);
  StateLayout layout;
  layout.add(slot, device.state_bytes(slot));
  SequenceState state;
  state.layout = &layout;
  state.slots.own = Memory(device, layout.bytes());
  std::mt19937 random(5);
  std::vector<float> all;
  device.run([&](Lane& lane) {
    const auto fill = [&](const Rows& rows, float low, float high) {
      std::uniform_real_distribution<float> draw(low, high);
      std::vector<float> values(static_cast<size_t>(rows.count() * rows.width()));
      for (float& v : values) v = draw(random);
      lane.write(values.data(), rows);
      return rows;
    };
    const Rows bias = fill(lane.take(1, heads), -2, 0), d = fill(lane.take(1, heads), -1, 1);
    const Rows a = fill(lane.take(1, heads), -1, -0.1f);
    const int64_t most = 600;
    const Rows x = fill(lane.take(most, inner), -1, 1), dt = fill(lane.take(most, heads), -1, 1);
    const Rows b = fill(lane.take(most, groups * states), -1, 1);
    const Rows c = fill(lane.take(most, groups * states), -1, 1), y = lane.take(most, inner);
    const std::string where = "a test";
    int64_t at = 0;
    for (const int64_t tokens : calls) {
      const Sequence sequence{
          .state = &state, .row = 0, .tokens = tokens, .position = at, .horizon = at + tokens};
      const auto own = [&](const Rows& rows) { return rows.rows(at, tokens); };
      lane.ssd_scan({.dt = own(dt),
                     .x = own(x),
                     .b = own(b),
                     .c = own(c),
                     .dt_bias = bias,
                     .a = a,
                     .d = d,
                     .dt_min = 0,
                     .dt_max = 10,
                     .rounded = false,
                     .slot = 0,
                     .where = where,
                     .y = own(y)},
                    Batch({&sequence, 1}));
      at += tokens;
    }
    const float* values = lane.host(y.rows(0, at));
    all.assign(values, values + at * inner);
  });
  return all;
}

}  // namespace

TEST_CASE("where a prompt is cut does not show at multiples of 64 on OpenCL", "[opencl][session]") {
  if (!has_opencl()) return;
  for (const char* name : {"mamba2", "zamba2", "qwen3_next", "qwen3_5"}) {
    const Golden golden = load_golden(name, on_opencl());
    for (const size_t count : {129, 150, 203}) {
      CAPTURE(name, count);
      const std::vector<int32_t> ids = long_ids(golden, count);
      const std::vector<float> want = last_logits(golden.model, ids, 512);
      for (const int64_t batch : {64, 128}) CHECK(last_logits(golden.model, ids, batch) == want);
      // In company, which takes room in its rounds, and gone on with from a checkpoint.
      Session one(golden.model, 192), other(golden.model, 192);
      const std::vector<Feed> feeds = {{.session = &one, .ids = ids},
                                       {.session = &other, .ids = std::span(ids).first(70)}};
      eval_together(feeds);
      CHECK(std::ranges::equal(one.logits(), want));
      Session kept(golden.model, SessionOptions{.checkpoint_every = 64});
      kept.prompt(std::span(ids).first(100));
      const int64_t back = kept.rewind(70);
      CHECK(back == 64);
      CHECK(kept.prompt(ids) == back);
      CHECK(std::ranges::equal(kept.logits(), want));
    }
  }
}

TEST_CASE("prompts are scanned in chunks, few tokens one after the other", "[opencl][chunks]") {
  if (!has_opencl()) return;
  const std::pair<const char*, const char*> models[] = {{"mamba2", "ssd_scan"},
                                                        {"qwen3_next", "delta_rule"}};
  for (const auto& [name, scan] : models) {
    CAPTURE(name);
    const Golden golden = load_golden(name, on_opencl());
    auto& device = dynamic_cast<OpenClDevice&>(golden.model->device());
    const std::vector<int32_t> ids = long_ids(golden, 133);
    const auto kernels_of = [&](size_t count) {
      last_logits(golden.model, std::span(ids).first(count), 512);  // which may check programs
      StepClock clock;
      device.time_steps(&clock);
      last_logits(golden.model, std::span(ids).first(count), 512);
      device.time_steps(nullptr);
      return clock.kernels();
    };
    for (const size_t few : {1, 9}) {
      CHECK(kernels_of(few).contains(scan));
      CHECK_FALSE(kernels_of(few).contains("chunk_outputs"));
    }
    for (const size_t whole : {64, 128}) {
      CHECK_FALSE(kernels_of(whole).contains(scan));
      CHECK(kernels_of(whole).contains("chunk_outputs"));
    }
    CHECK(kernels_of(133).contains(scan));  // five are left
    CHECK(kernels_of(133).contains("chunk_outputs"));
  }
}

TEST_CASE("states between chunks take as much room as there is", "[opencl][chunks]") {
  if (!has_opencl()) return;
  const std::vector<float> whole = scan_of_large_states({600});
  CHECK(whole == scan_of_large_states({64, 320, 216}));
  CHECK(whole == scan_of_large_states({512, 88}));
}

}  // namespace klens
