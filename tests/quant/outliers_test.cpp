// Layers that stand out, as SensiBoost and KurtBoost find them, and tables of their scores.
#include "quant/planners/outliers.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <set>
#include <sstream>

#include "base/error.h"
#include "loaders/score_table.h"
#include "quant/layer.h"
#include "tests/quant/planning.h"
#include "tests/skipped.h"

namespace klens {

using namespace planning;

namespace {

std::vector<size_t> places(const std::vector<Outlier>& found) {
  std::vector<size_t> places;
  for (const Outlier& outlier : found) places.push_back(outlier.at);
  return places;
}

// The authors' tables, which are not part of the repository; "" if absent.
std::string published_scores(const std::string& model) {
  const char* folder = std::getenv("KLENS_SHARED");
  const std::string path = std::string(folder != nullptr ? folder : KLENS_SHARED) +
                           "/reference/sensikurt/metrics-b4g64-" + model + "-hf.csv";
  if (!std::filesystem::exists(path)) {
    std::cout << "skip: " << path << " is not here (set KLENS_SHARED to the shared folder)\n";
    testing::skipped = true;
    return "";
  }
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

using Layers = std::set<int64_t>;
using Sets = std::map<std::string, Layers>;

Sets sets_of(const std::string& csv, const OutlierRule& rule) {
  Sets sets;
  for (const ModuleOutliers& module :
       find_outliers(scores_from_csv(csv, "x", rule.metric.name), rule.change)) {
    Layers& layers = sets[module.module.substr(module.module.find('.') + 1)];
    for (const ModuleOutliers::Layer& layer : module.layers) layers.insert(layer.layer);
  }
  return sets;
}

}  // namespace

TEST_CASE("a layer stands out whose change is more than three deviations from the trimmed mean",
          "[outliers]") {
  // 20 changes: 0 and 1 in turns, but one of 10 and one of -10, which is one at each end.
  std::vector<double> scores{100};
  for (int i = 0; i < 20; ++i)
    scores.push_back(scores.back() + (i == 4 ? 10 : i == 11 ? -10 : i % 2));
  const std::vector<Outlier> found = find_outliers(scores, Change::kDifference);
  CHECK(places(found) == std::vector<size_t>{12, 5});
  // Of the 18 others, 9 are 0 (the 10 took a 0's place, the -10 a 1's) and 9 are 1.
  const double deviation = std::sqrt(18 * 0.25 / 17);
  CHECK(found[0].z == Approx(10.5 / deviation));
  CHECK(found[1].z == Approx(9.5 / deviation));
  CHECK(places(find_outliers(scores, Change::kDifference, 1)) == std::vector<size_t>{12});
  // The same changes of logarithms.
  for (double& score : scores) score = std::exp2(score - 100);
  CHECK(places(find_outliers(scores, Change::kRatio)) == std::vector<size_t>{5});
}

TEST_CASE("few layers, equal ones and zeros", "[outliers]") {
  CHECK(find_outliers(std::vector<double>{}, Change::kRatio).empty());
  CHECK(find_outliers(std::vector<double>{1}, Change::kRatio).empty());
  CHECK(find_outliers(std::vector<double>(30, 2.5), Change::kRatio).empty());
  CHECK(find_outliers(std::vector<double>(30, 0.0), Change::kRatio).empty());
  // Of n changes none is further than (n - 1) / sqrt(n) deviations from their mean.
  for (const size_t layers : {11, 12}) {
    std::vector<double> rise(layers, 1);
    rise.back() = 1000;
    CHECK(find_outliers(rise, Change::kDifference).size() == (layers < 12 ? 0 : 1));
  }
  std::vector<double> from_zero(16, 1);
  from_zero[0] = 0;
  const std::vector<Outlier> found = find_outliers(from_zero, Change::kRatio);
  REQUIRE(places(found) == std::vector<size_t>{1});
  CHECK(std::isinf(found[0].z));
}

TEST_CASE("each module has its own layers, in whatever order scores come", "[outliers]") {
  std::vector<LayerScore> scores;
  for (int64_t layer = 40; layer-- > 0;)
    for (const char* module : {"mlp.up_proj", "self_attn.q_proj"}) {
      const bool jumps = module[0] == 'm' ? layer >= 7 : layer >= 30;
      const double wobble = 1 + 0.01 * static_cast<double>(layer % 3);
      scores.push_back({module, 2 * layer, (jumps ? 50 : 1) * wobble, 0});
    }
  const std::vector<ModuleOutliers> found = find_outliers(scores, Change::kRatio);
  REQUIRE(found.size() == 2);
  CHECK(found[0].module == "mlp.up_proj");
  REQUIRE(found[0].layers.size() == 1);
  CHECK(found[0].layers[0].layer == 14);
  CHECK(found[1].layers[0].layer == 60);
}

TEST_CASE("scores of a profile are those of units in layers, by module", "[outliers]") {
  Profile p;
  const auto add = [&](const char* name, const char* kind, int64_t block, int64_t rows, double s) {
    Unit u = unit(name, {candidate("fp16", 9, 0)});
    u.kind = kind;
    u.block = block;
    u.rows = rows;
    u.cols = 64;
    u.weights[kSensitivity] = s;
    p.units.push_back(u);
  };
  add("model.layers.0.self_attn.v_proj", "v_proj", 0, 64, 1);
  add("model.layers.0.self_attn.o_proj", "o_proj", 0, 64, 2);
  add("model.layers.1.self_attn.v_proj", "v_proj", 2, 16, 3);
  add("model.layers.1.self_attn.o_proj", "o_proj", 2, 64, 4);
  add("lm_head", "head", 4, 64, 0);
  p.units.back().weights[kSensitivity].reset();
  auto scores = std::get<0>(layer_scores(p, kSensiBoost));
  REQUIRE(scores.size() == 4);
  CHECK(scores[0].module == "self_attn.v_proj");
  CHECK(scores[3].module == "self_attn.o_proj");
  CHECK(scores[3].layer == 1);
  CHECK(scores[3].unit == 3);
  CHECK(scores[1].score == 2);
  CHECK(scores[3].score == 3);  // v and o differ in shape: v's
  const auto missing = std::get<1>(layer_scores(p, kKurtBoost));
  CHECK(missing.what == "kurtosis");
  CHECK(missing.unit == "model.layers.0.self_attn.v_proj");
  add("vision.layers.0.self_attn.v_proj", "v_proj", 0, 64, 5);
  scores = std::get<0>(layer_scores(p, kSensiBoost));
  CHECK(scores[4].module == "vision.layers.self_attn.v_proj");
}

TEST_CASE("the place of a unit is its name's first number", "[outliers]") {
  const LayerPlace place = *place_of("model.layers.12.mlp.experts.3.up_proj");
  CHECK(place.stack == "model.layers");
  CHECK(place.module == "mlp.experts.3.up_proj");
  CHECK(place.layer == 12);
  CHECK(layer_of("7.in_proj") == 7);
  CHECK(place_of("7.in_proj")->stack.empty());
  CHECK(place_of("layers.7")->module.empty());
  for (const char* name : {"", "lm_head", "model.embed2", "layers.-1.x", "layers.1x.y"})
    CHECK_FALSE(layer_of(name));
}

TEST_CASE("a table of scores is read by its first line", "[outliers]") {
  const auto scores = scores_from_csv(
      "\xef\xbb\xbf\"sensitivity\", module ,extra,layer\r\n"
      "1.5e-3,self_attn.q_proj,\"a, \"\"b\"\"\nc\",3\r\n\r\n"
      "2,\"mlp.up_proj\",NA,0",
      "x", "sensitivity");
  REQUIRE(scores.size() == 2);
  CHECK(scores[0].module == "self_attn.q_proj");
  CHECK(scores[0].layer == 3);
  CHECK(scores[0].score == 1.5e-3);
  CHECK(scores[1].module == "mlp.up_proj");
  CHECK(scores[1].layer == 0);
  CHECK(is_score_table("\xef\xbb\xbflayer,module"));
  CHECK(is_score_table("\n layer"));
  for (const char* other : {"", " \n", "{}", "\n [1]"}) CHECK_FALSE(is_score_table(other));
}

TEST_CASE("a table of scores that is not one is refused by line and column", "[outliers]") {
  const std::string head = "layer,module,kurtosis\n";
  const std::pair<std::string, const char*> cases[] = {
      {"", "x: is empty; a table of scores is CSV"},
      {"layer,module\n1,a\n", "x: has no column 'kurtosis', only: layer, module; "},
      {head, "has no line but the first"},
      {head + "0,a,1\n0,b\n", "x: line 3: has 2 fields where the first line has 3"},
      {head + "0,a,1\n0,b,1,\n", "line 3: has 4 fields"},
      {head + "0,a,NA\n", "line 2: kurtosis is 'NA', which is no number"},
      {head + "0,a,\n", "line 2: kurtosis is ''"},
      {head + "0,a,inf\n", "line 2: kurtosis is 'inf'"},
      {head + "0.5,a,1\n", "line 2: the layer is '0.5'"},
      {head + "\n0,a,1\n1,a,1\n0,a,2\n", "line 5: names layer 0 of a a second time"},
      {head + "0,\"a,1\n", "line 2: a quote is not closed"}};
  for (const auto& [text, why] : cases) {
    CAPTURE(text);
    CHECK_THROWS_WITH(scores_from_csv(text, "x", "kurtosis"), Catch::Contains(why));
  }
}

TEST_CASE("whatever bytes a table has, it is read or refused", "[outliers]") {
  const std::string whole = "layer,module,kurtosis\n0,\"a\",1\n1,a,2.5\r\n2,b,\"3\"\n";
  const std::string bytes = "\",\n\r 019.-e\xef\x00";
  std::mt19937 random(11);
  int read = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole;
    for (size_t change = 0; change <= static_cast<size_t>(round % 4); ++change) {
      const size_t at = random() % text.size();
      const char byte = bytes[random() % bytes.size()];
      if (random() % 2 == 0)
        text[at] = byte;
      else
        text.insert(at, 1, byte);
    }
    if (round % 5 == 0) text.resize(random() % text.size());
    try {
      read += !scores_from_csv(text, "x", "kurtosis").empty();
    } catch (const Error& error) {
      CHECK_THAT(error.what(), Catch::StartsWith("x: "));
    }
  }
  CHECK(read > 100);
}

TEST_CASE("the rule selects the layers that its authors' does", "[outliers][shared]") {
  const Layers qkv7 = {2, 31}, mlp = {1, 2, 3}, first = {1, 2};
  if (const std::string csv = published_scores("Llama-2-7b"); !csv.empty()) {
    CHECK(sets_of(csv, kSensiBoost) == Sets{{"q_proj", qkv7},
                                            {"k_proj", qkv7},
                                            {"v_proj", qkv7},
                                            {"o_proj", {1}},
                                            {"gate_proj", mlp},
                                            {"up_proj", mlp},
                                            {"down_proj", {1, 30}}});
    CHECK(sets_of(csv, kKurtBoost) == Sets{{"q_proj", first},
                                           {"k_proj", first},
                                           {"v_proj", first},
                                           {"o_proj", {1, 2, 31}},
                                           {"gate_proj", {2, 30, 31}},
                                           {"up_proj", {2, 30, 31}},
                                           {"down_proj", {1, 2, 31}}});
  }
  if (const std::string csv = published_scores("Llama-2-13b"); !csv.empty()) {
    CHECK(sets_of(csv, kSensiBoost) == Sets{{"q_proj", first},
                                            {"k_proj", first},
                                            {"v_proj", first},
                                            {"o_proj", {3}},
                                            {"gate_proj", mlp},
                                            {"up_proj", mlp},
                                            {"down_proj", {3, 4, 39}}});
    CHECK(sets_of(csv, kKurtBoost) == Sets{{"q_proj", {1, 2, 4}},
                                           {"k_proj", first},
                                           {"v_proj", {1, 2, 39}},
                                           {"o_proj", {3, 4, 39}},
                                           {"gate_proj", {1, 38, 39}},
                                           {"up_proj", {3, 4, 38, 39}},
                                           {"down_proj", {1, 3, 4, 39}}});
  }
}

}  // namespace klens
