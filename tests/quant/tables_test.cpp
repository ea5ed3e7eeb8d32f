// Names of formats, quantizers, metrics and planning methods stand in their tables and nowhere
// else.
#include <catch2/catch.hpp>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "quant/planner.h"
#include "quant/quantizers/rtn.h"
#include "quant/unit_name.h"

namespace klens {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The string literals of C and C++, without escapes' meaning. Raw ones are not told apart.
std::vector<std::string> literals_of(const std::string& code) {
  std::vector<std::string> literals;
  for (size_t i = 0; i < code.size(); ++i) {
    const std::string_view next = std::string_view(code).substr(i, 2);
    if (next == "//" || next == "/*") {  // a comment
      const size_t end = code.find(next == "//" ? "\n" : "*/", i + 2);
      if (end == std::string::npos) break;
      i = next == "//" ? end : end + 1;
    } else if (next == "'\"" || next == "'\\") {  // a character
      i = code.find('\'', i + 2);
    } else if (code[i] == '"') {
      std::string& literal = literals.emplace_back();
      for (++i; i < code.size() && code[i] != '"' && code[i] != '\n'; ++i) {
        const bool escape = code[i] == '\\';
        if (escape) ++i;
        literal += escape && code[i] == 'n' ? ' ' : code[i];
      }
    }
  }
  return literals;
}

bool is_word_at(const std::string& text, size_t at, size_t size) {
  const auto part = [&](size_t i) {
    return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) ||
                               text[i] == '_' || text[i] == '-' || text[i] == '/');
  };
  return !part(at - 1) && !part(at + size);
}

// A literal that is the name, or, where the name is no word of every day, one that has it in it.
bool names(const std::string& literal, const std::string& name) {
  if (literal == name) return true;
  if (name.find_first_of("0123456789_-") == std::string::npos) return false;
  for (size_t at = literal.find(name); at != std::string::npos; at = literal.find(name, at + 1))
    if (is_word_at(literal, at, name.size())) return true;
  return false;
}

using Place = std::pair<std::string, std::string>;  // a name, and a file whose texts have it

// Where each name belongs.
std::set<Place> homes() {
  std::set<Place> places;
  for (const Format& row : kFormats) places.emplace(row.name, "quant/format.h");
  for (const Quantizer& row : kQuantizers) places.emplace(row.name, "quant/quantizer.h");
  for (const PlanMethod& row : kPlanMethods) places.emplace(row.name, "quant/planner.h");
  for (const Metric* row : kMetrics)
    places.emplace(row->name, "quant/metrics/" + std::string(row->name) + ".h");
  return places;
}

// The same words for other things.
const std::set<Place> kOthers = {
    // the program, and a protocol of `perplexity`
    {"klens", "apps/chat/line_reader.cpp"},
    {"klens", "apps/cli/arguments.cpp"},
    {"klens", "apps/commands/perplexity.cpp"},
    {"klens", "apps/serve/model_routes.cpp"},
    {"klens", "loaders/tokenizer/fields.cpp"},
    // activations, keys and values, PyTorch's types
    {"fp16", "engine/c_api/model.cpp"},
    {"int8", "engine/c_api/model.cpp"},
    {"int8", "apps/cli/common.cpp"},
    {"int8", "engine/model.cpp"},
    {"int8", "engine/session_file.cpp"},
    {"int8", "loaders/pytorch/unpickler.cpp"},
    {"fp16", "apps/cli/common.cpp"},
    {"fp16", "engine/session_file.cpp"},
    // examples
    {"fp16", "apps/commands/quantize.cpp"},
    {"int8", "apps/commands/quantize.cpp"},
    {"int8", "apps/commands/plan.cpp"},
    {"int8", "apps/commands/compare.cpp"},
    // a section of the page
    {"sensitivity", "apps/report/maps.cpp"},
    {"sensitivity", "apps/report/page.cpp"},
    // the option
    {"greedy", "apps/generation.cpp"},  // of sampling
    {"uniform", "apps/calibration.cpp"},
    {"uniform", "apps/commands/plan.cpp"},
    {"uniform", "apps/commands/quantize.cpp"},
    // what reports of whole models say
    {"kl", "apps/commands/compare.cpp"},
    {"kl", "apps/commands/quantize.cpp"},
    {"kl", "engine/c_api/reports.cpp"},
    {"kl_p999", "apps/commands/compare.cpp"},
    {"ppl", "apps/commands/perplexity.cpp"},
    {"ppl", "apps/commands/sweep.cpp"},
    {"ppl", "apps/report/points.cpp"},
    {"ppl", "apps/sweep_view.cpp"},
    {"ppl", "engine/c_api/reports.cpp"},
};

}  // namespace

TEST_CASE("a name is written in its table and nowhere else", "[tables]") {
  const fs::path root = fs::path(KLENS_TEST_DATA) / "../..";
  std::set<std::string> all;
  for (const Place& home : homes()) all.insert(home.first);
  std::set<Place> found;
  for (const char* folder : {"kernels", "quant", "loaders", "engine", "apps"})
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string ending = entry.path().extension();
      if (ending != ".h" && ending != ".hpp" && ending != ".cpp" && ending != ".c") continue;
      for (const std::string& literal : literals_of(contents(entry.path())))
        for (const std::string& name : all)
          if (names(literal, name)) found.emplace(name, fs::relative(entry.path(), root).string());
    }
  std::set<Place> expected = homes();
  expected.insert(kOthers.begin(), kOthers.end());
  for (const Place& place : found) {
    INFO("\"" << place.first << "\" in " << place.second << ": take it from the table");
    CHECK(expected.count(place) == 1);
  }
  for (const Place& place : expected) {
    INFO("\"" << place.first << "\" is no longer in " << place.second);
    CHECK(found.count(place) == 1);
  }
  // The search itself.
  CHECK(literals_of("a(\"x\\\"y\", '\"'); // \"z\"\n/* \"z\" */ \"w\"") ==
        std::vector<std::string>{"x\"y", "w"});
  CHECK(names("mse", "mse"));
  CHECK_FALSE(names("the mse", "mse"));
  CHECK(names("one of int8,fp16", "int8"));
  CHECK_FALSE(names("int8x", "int8"));
}

TEST_CASE("lists of names are read against their table", "[tables]") {
  const auto some = parse_names("mse,,kl,mse", "metric", kMetrics);
  CHECK(std::get<0>(some) == std::vector<const Metric*>{&kMse, &kKl});
  CHECK(std::get<0>(parse_names("", "format", kFormats)).empty());
  CHECK(std::get<1>(parse_names("int8,int3", "format", kFormats)) ==
        "format \"int3\" is not one of " + names_of(kFormats));
  CHECK(names_of(kFormats) ==
        "fp16, int8g32, int8, int6g16, int6g32, int5ag32, int5g32, int4ag32, int4g32, int4g64, "
        "int4g128, int3g16, int2ag16, int3g32, int2g32");
  CHECK(names_of(kMetrics) ==
        "kl, kl_reverse, kl_p999, delta_ce, mse, sqnr_db, ppl, output_error, kurtosis, "
        "sensitivity");
  CHECK(names_of(kPlanMethods) ==
        "klens, kl-sort, kl-sort-gamma, sqnr-sort, mse-sort, greedy, kl-max, "
        "sensiboost, kurtboost, rule, uniform");
  CHECK(unknown_part({"int8"}).empty());
  CHECK(unknown_part({"int9"}) == not_one_of("format", "int9", kFormats));
  CHECK(unknown_part({"int8", "awq"}) == "quantizer \"awq\" is not one of rtn, search, gptq, hqq");
}

TEST_CASE("every metric is made of scores, weights or modules, and what loses nothing is known",
          "[tables]") {
  const std::vector<float> weights = {1, -1, 1, -1};
  const WeightView view{.layout = Layout::kRowsF32, .rows = 2, .cols = 2, .data = weights.data()};
  WindowScore none;  // of a student that is the teacher
  none.squared = 9;
  none.ce = 8;
  none.positions = 4;
  none.labels = 4;
  none.largest = {0, 0, 0, 0};
  for (const Metric* metric : kMetrics) {
    CAPTURE(metric->name);
    CHECK((metric->of_scores != nullptr) + (metric->of_weights != nullptr) + metric->of_modules <=
          1);
    if (metric->of_scores == nullptr && metric->of_candidates())
      CHECK(metric->lossless == 0.0);
    else if (metric->of_weights != nullptr)
      CHECK(metric->of_weights(view) == Approx(1));
    else if (metric->lossless)
      CHECK(metric->of_scores(none, 7) == *metric->lossless);
  }
  CHECK(kPpl.of_scores(none, 7) == Approx(std::exp(2)));
  WindowScore some = none;
  some.squared_error = 0.9;
  some.kl = 2;
  CHECK(kMse.of_scores(some, 7) == Approx(0.9 / 4 / 7));
  CHECK(kSqnrDb.of_scores(some, 7) == Approx(10));
  CHECK(kKl.of_scores(some, 7) == 0.5);
}

TEST_CASE("a choice makes what its quantizer makes", "[tables]") {
  std::vector<float> weights(32 * 16);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 13) - 6;
  const WeightView view{.layout = Layout::kRowsF32, .rows = 16, .cols = 32, .data = weights.data()};
  for (const Format& format : kFormats) {
    const PackedWeight a = quantize({format.name}, view), b = quantize_rtn(format, view, {});
    CHECK(a.format == &format);
    CHECK(std::equal(a.qweight.data(), a.qweight.data() + a.qweight.size(), b.qweight.data()));
  }
  CHECK(Choice{"int8"} != Choice{"int8", "other"});
  CHECK(text_of(Choice{"int8"}) == "int8 (rtn)");
}

TEST_CASE("a unit's name says which rows it has", "[tables]") {
  const UnitName whole{"layers.0.in_proj", std::nullopt}, part{"in_proj", RowRange{16, 48}};
  CHECK(parse_unit_name("layers.0.in_proj") == whole);
  CHECK(text_of(whole) == "layers.0.in_proj");
  CHECK(parse_unit_name("in_proj[16:48]") == part);
  CHECK(text_of(part) == "in_proj[16:48]");
  for (const char* wrong : {"", "a[3:3]", "a[4:3]", "a[-1:3]", "a[:3]", "a[1:]", "a[1]", "a[]", "]",
                            "[0:3]", "a[00:3]", "a[0:3x]", "a[0:99999999999999999999]"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_unit_name(wrong));
  }
  CHECK(parse_unit_name("a[0].b")->matrix == "a[0].b");  // brackets elsewhere are names
}

}  // namespace klens
