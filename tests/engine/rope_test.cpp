// The angles of rotations against those that transformers computes (tests/data/make_rope.py).
#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "engine/cpu/cpu_device.h"
#include "engine/rope_tables.h"
#include "loaders/architectures/spec_builder.h"
#include "loaders/json.h"
#include "loaders/mapped_file.h"
#include "tests/testing.h"

namespace klens {

using namespace klens::testing;

TEST_CASE("every scaling of a rotation gives transformers' angles", "[rope]") {
  const nlohmann::json cases = parse_json(read_text(data_path("rope.json")), "rope.json");
  REQUIRE(cases.size() == 18);
  for (const nlohmann::json& entry : cases) {
    const Config config(entry["config"].dump(), "config");
    CAPTURE(entry["config"].dump(), entry["length"].get<int64_t>());
    const RopeSpec spec = rope(config, entry["head_dim"]);
    CHECK(spec.scale == Approx(entry["scale"].get<double>()));
    // The table of the last position of a text of that length.
    const int64_t length = entry["length"], at = 1000;
    const Sequence sequence{
        .state = nullptr, .row = 0, .tokens = 1, .position = at, .horizon = length};
    std::vector<float> cos, sin;
    CpuDevice(1).run([&](Lane& lane) {
      const RopeTable table = make_rope_table(spec, {&sequence, 1}, lane);
      cos.assign(lane.host(table.cos), lane.host(table.cos) + table.cos.width());
      sin.assign(lane.host(table.sin), lane.host(table.sin) + table.sin.width());
    });
    const auto frequencies = entry["inv_freq"].get<std::vector<double>>();
    REQUIRE(cos.size() == frequencies.size());
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const double angle = static_cast<double>(at) * frequencies[i];
      // A frequency is right to some 1e-6 of itself.
      CHECK(cos[i] == Approx(spec.scale * std::cos(angle)).margin(2e-6 * (1 + angle)));
      CHECK(sin[i] == Approx(spec.scale * std::sin(angle)).margin(2e-6 * (1 + angle)));
    }
  }
}

TEST_CASE("rotations that are not known are refused by name", "[rope]") {
  const auto refuses = [](const char* config, const char* what) {
    CHECK_THROWS_WITH(rope(Config(std::string(config), "config.json"), 64), Catch::Contains(what));
  };
  refuses(R"({"rope_scaling":{"rope_type":"longrope","factor":2}})", "\"longrope\"");
  refuses(R"({"rope_scaling":{"rope_type":"linear","factor":2,"alpha":1000}})", "alpha");
  refuses(R"({"rope_scaling":{"rope_type":"linear"}})", "lacks factor");
  refuses(R"({"rope_scaling":{"rope_type":"factors","factors":[1,2]}})", "2 numbers for 32 pairs");
}

}  // namespace klens
