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
  return sample_windows(model, kCtx, windows, 5, progress, nowhere);
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
  CalibrationText light = a;
  light.name = "light.txt";
  light.weight = a.weight / 1000;
  CHECK_THROWS_WITH(windows_of({a, light}, 8),
                    Catch::Contains("light.txt has none of the 8 windows by these weights"));
  little.text = "one";
  CHECK_THROWS_WITH(windows_of({a, little}, 8),
                    Catch::Contains("little.txt") && Catch::Contains("give a longer one"));
  little.weight = -1;
  CHECK_THROWS_WITH(windows_of({a, little}, 8), Catch::Contains("weight"));
}

TEST_CASE("quantizers see windows that are not measured, as long as there are any",
          "[calibration]") {
  const auto model = open_model(demo_model());
  const Tokenizer tokenizer =
      Tokenizer::from_json(model->checkpoint().texts.tokenizer, "tokenizer.json");
  const std::string all = read_text(demo_model() + "/../own-text.txt");
  const auto windows_of = [&](size_t bytes, int64_t ctx) {
    const std::vector<CalibrationText> text = {{all.substr(0, bytes)}};
    return calibrate_on_texts(*model, tokenizer, text, ctx, 2, 2);
  };
  const Calibration found = windows_of(all.size(), kCtx);
  CHECK(found.windows.size() == 2);
  CHECK(found.seen.size() == kLeastSeenTokens / kCtx);
  CHECK(found.held_out.size() == 2);
  std::vector<int32_t> in_turn;
  for (const Windows& part : {found.windows, found.seen, found.held_out})
    for (const std::vector<int32_t>& window : part)
      in_turn.insert(in_turn.end(), window.begin(), window.end());
  const std::vector<int32_t> ids = text_ids(*model, tokenizer, all);
  REQUIRE(ids.size() >= in_turn.size());
  CHECK(std::equal(in_turn.begin(), in_turn.end(), ids.begin()));

  // One window is left to judge by, and none to see.
  const auto three =
      static_cast<int64_t>(text_ids(*model, tokenizer, all.substr(0, 200)).size() / 3);
  const Calibration short_text = windows_of(200, three);
  CHECK(short_text.windows.size() == 2);
  CHECK(short_text.held_out.size() == 1);
  CHECK(short_text.seen == short_text.windows);
  const Calibration one = windows_of(12, kCtx);
  CHECK(one.windows == one.seen);
  CHECK(one.held_out.empty());

  Progress progress(nullptr);
  Journal nowhere("", "", false);
  const Calibration drawn = calibrate_on_samples(*model, kCtx, 3, 1, 5, progress, nowhere);
  CHECK(drawn.windows == sampled(*model, 3));
  CHECK(drawn.seen.size() == 3);
  for (const std::vector<int32_t>& window : drawn.seen)
    CHECK(std::ranges::count(drawn.windows, window) == 0);
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
