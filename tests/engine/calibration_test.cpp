// What models are calibrated on: texts mixed by weight, samples of the model itself.
#include "engine/jobs/calibration.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "engine/jobs/profile_state.h"
#include "engine/jobs/text_windows.h"
#include "loaders/mapped_file.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

constexpr int64_t kCtx = 16;

Windows sampled(const Model& model, int64_t windows) {
  Progress progress(nullptr);
  Journal nowhere("", "", false);
  return calibrate_on_samples(model, kCtx, windows, 0, 5, progress, nowhere).windows;
}

}  // namespace

TEST_CASE("windows of several texts take turns by weight", "[calibration]") {
  const auto model = open_model(demo_model());
  const Tokenizer tokenizer =
      Tokenizer::from_json(model->checkpoint().texts.tokenizer, "tokenizer.json");
  const std::string all = read_text(demo_model() + "/../own-text.txt");
  const CalibrationText a{all.substr(0, all.size() / 2), "a.txt", 3},
      b{all.substr(all.size() / 2), "b.txt", 1};
  const auto windows_of = [&](std::vector<CalibrationText> texts, int64_t windows) {
    return calibrate_on_texts(*model, tokenizer, texts, kCtx, windows, 4);
  };
  const Calibration only_a = windows_of({a}, 8), only_b = windows_of({b}, 8);
  const Calibration mixed = windows_of({a, b}, 8);
  CHECK(source_name(std::vector{a, b}) == "3.0 a.txt + 1.0 b.txt");
  CHECK(source_name(std::vector{a}) == "a.txt");
  CHECK(mixed.held_out.size() == 4);
  const auto from = [](const std::vector<int32_t>& window, const Calibration& text) {
    return std::ranges::count(text.windows, window) > 0;
  };
  for (size_t first = 0; first < 8; first += 4) {  // any four in a row
    int of_a = 0, of_b = 0;
    for (size_t w = first; w < first + 4; ++w) {
      of_a += from(mixed.windows[w], only_a);
      of_b += from(mixed.windows[w], only_b);
    }
    CHECK(of_a == 3);
    CHECK(of_b == 1);
  }
  CHECK(mixed.windows[0] == only_a.windows[0]);

  // A text that is used up ends the mix: what comes before is in proportion.
  CalibrationText little{b.text.substr(0, 200), "little.txt", 1};
  const size_t whole = text_ids(*model, tokenizer, little.text).size() / kCtx;
  REQUIRE(whole > 0);
  const Calibration ended = windows_of({a, little}, 512);
  CHECK(ended.windows.size() + ended.held_out.size() <= 4 * whole + 3);
  little.text = "one";
  CHECK_THROWS_WITH(windows_of({a, little}, 8),
                    Catch::Contains("little.txt") && Catch::Contains("give a longer one"));
  little.weight = -1;
  CHECK_THROWS_WITH(windows_of({a, little}, 8), Catch::Contains("weight"));
}

TEST_CASE("a sampled window is the same whatever others are sampled beside it", "[calibration]") {
  for (const char* name : {"mamba", "mamba2", "llama", "hymba", "jamba", "zamba2"}) {
    CAPTURE(name);
    const auto model = open_model(data_path("goldens/" + std::string(name)));
    const Windows eleven = sampled(*model, 11), one = sampled(*model, 1),
                  three = sampled(*model, 3);
    CHECK(one[0] == eleven[0]);
    CHECK(three[2] == eleven[2]);
    CHECK(eleven[8] != eleven[0]);
    for (const std::vector<int32_t>& window : eleven) CHECK(window.size() == kCtx);
  }
}

}  // namespace klens
