// Units that are some rows of a matrix: where it is cut changes no bit, and files of any cuts run.
#include <catch2/catch.hpp>

#include "base/error.h"
#include "engine/jobs/quantize_job.h"
#include "engine/session.h"
#include "loaders/klens_file.h"
#include "loaders/profile_json.h"
#include "tests/engine/cuts.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

std::vector<float> cut_logits(const std::shared_ptr<const Model>& model) {
  Session session(model, 64);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 37; ++i) ids.push_back(i * 7 % 150);
  session.prompt(ids);
  std::vector<float> all(session.logits().begin(), session.logits().end());
  const int32_t next = 11;
  session.eval({&next, 1}, nullptr);
  all.insert(all.end(), session.logits().begin(), session.logits().end());
  return all;
}

Plan plan_of(const ModelSpec& spec, const std::string& format) {
  Plan plan;
  for (const LinearSpec& unit : spec.units) plan.units[unit.name] = {format, "rtn"};
  return plan;
}

void write(const std::string& path, const Checkpoint& checkpoint, const std::string& format) {
  write_klens_file(
      path, checkpoint, {.plan = plan_of(checkpoint.spec, format), .provenance = {}},
      [](const StoredUnit& unit, const Choice& choice) { return quantise_unit(unit, choice); });
}

}  // namespace

TEST_CASE("where matrices are cut changes no bit", "[cut]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const auto with_cuts = [&](const std::vector<int64_t>& at) {
    return std::make_shared<const Model>(
        cut(open_checkpoint(data_path("goldens/" + name), true), at), ModelOptions{.threads = 2});
  };
  const auto one = with_cuts({}), many = with_cuts({16, 32, 80});
  const Checkpoint &whole = one->checkpoint(), &parts = many->checkpoint();
  CHECK(parts.spec.units.size() > whole.spec.units.size());
  CHECK(checkpoint_xxh3(parts) == checkpoint_xxh3(whole));
  CHECK(cut_logits(one) == cut_logits(many));

  const TemporaryFolder folder;
  for (const char* format : {"int8g32", "int4g32", "int5ag32"}) {
    CAPTURE(format);
    write(folder / "whole.klens", whole, format);
    write(folder / "parts.klens", parts, format);
    const auto a = open_model(folder / "whole.klens"), b = open_model(folder / "parts.klens");
    CHECK(a->units().size() == whole.spec.units.size());  // as files of earlier versions have them
    CHECK(b->units().size() == parts.spec.units.size());
    CHECK(cut_logits(a) == cut_logits(b));
  }
}

TEST_CASE("matrices of several kinds of rows, and of many ids, are cut", "[cut]") {
  const auto names = [](const std::string& golden, const std::string& part) {
    std::vector<std::string> found;
    for (const LinearSpec& unit : open_checkpoint(data_path("goldens/" + golden), true).spec.units)
      if (unit.name.find(part) != std::string::npos) found.push_back(unit.name);
    return found;
  };
  CHECK(names("mamba2", "layers.0.mixer.in_proj") ==
        std::vector<std::string>{"backbone.layers.0.mixer.in_proj[0:256]",
                                 "backbone.layers.0.mixer.in_proj[256:288]",
                                 "backbone.layers.0.mixer.in_proj[288:296]"});
  std::vector<std::string> head;
  for (const LinearSpec& unit : open_checkpoint(demo_model(), true).spec.units)
    if (unit.kind == "head") head.push_back(unit.name);
  CHECK(head ==
        std::vector<std::string>{"lm_head[0:512]", "lm_head[512:2048]", "lm_head[2048:4096]"});
}

TEST_CASE("a plan may name a matrix whose rows are several units", "[cut]") {
  const auto model = open_model(data_path("goldens/mamba2"));
  const TemporaryFolder folder;
  Plan plan;
  for (const MatrixSpec& matrix : model->spec().matrices) plan.units[matrix.name] = {"int8g32"};
  QuantizeOptions options;
  options.plan_json = plan_to_json(plan);
  options.measure = false;
  Progress progress(nullptr);
  quantize(*model, nullptr, folder / "a.klens", options, progress);
  const auto made = open_model(folder / "a.klens");
  CHECK(made->units().size() == model->units().size());
  for (const auto& [name, unit] : made->checkpoint().units) CHECK(unit.choice->format == "int8g32");
}

TEST_CASE("a file whose cuts no unit can begin at is refused", "[cut]") {
  const TemporaryFolder folder;
  Checkpoint parts = cut(open_checkpoint(data_path("goldens/mamba"), true), {16});
  for (LinearSpec& unit : parts.spec.units) {
    const std::string from = "[16:";
    if (const size_t at = unit.name.find(from); at != std::string::npos) {
      parts.units[unit.name.substr(0, at) + "[17:" + unit.name.substr(at + from.size())] =
          parts.units.at(unit.name);
      unit.name = unit.name.substr(0, at) + "[17:" + unit.name.substr(at + from.size());
    }
  }
  write(folder / "a.klens", parts, "int8g32");
  CHECK_THROWS_WITH(open_checkpoint(folder / "a.klens", true),
                    Catch::Contains("at row 17, where no unit can begin"));
}

}  // namespace klens
