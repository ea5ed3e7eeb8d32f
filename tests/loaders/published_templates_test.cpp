// Others' chat templates, which are not part of the repository: the folder that KLENS_TEMPLATES
// names, such as models/templates of llama.cpp's source, against checksums of what Jinja makes of
// them (tests/data/make_published_templates.py).
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "loaders/chat_template/chat_template.h"
#include "loaders/checksum.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
using nlohmann::ordered_json;

std::string checksum(const std::string& text) { return xxh3_hex(std::as_bytes(std::span(text))); }

// What render gives: a checksum, or that it refused.
std::string outcome(const std::string& source, const std::string& name, const ordered_json& context,
                    std::string& text) {
  try {
    text = ChatTemplate::parse(source, name).render_ordered(context);
    return checksum(text);
  } catch (const Error& error) {
    text = error.what();
    return "refused";
  }
}

}  // namespace

TEST_CASE("published templates render as with Jinja", "[chat_template][shared]") {
  const char* folder = std::getenv("KLENS_TEMPLATES");
  if (folder == nullptr) {
    std::cout << "skip: others' chat templates (set KLENS_TEMPLATES to a folder of them)\n";
    skipped = true;
    return;
  }
  const ordered_json data =
      ordered_json::parse(std::ifstream(data_path("published_templates.json")));
  size_t compared = 0, others = 0;
  for (const auto& [name, wanted] : data["templates"].items()) {
    std::ifstream in(std::string(folder) + "/" + name, std::ios::binary);
    std::stringstream read;
    read << in.rdbuf();
    const std::string source = read.str();
    if (!in || checksum(source) != wanted["source"]) {
      ++others;
      continue;
    }
    for (size_t i = 0; i < data["contexts"].size(); ++i) {
      const std::string expected = wanted["renderings"][i];
      std::string text;
      const std::string got = outcome(source, name, data["contexts"][i], text);
      CAPTURE(name, i, text);
      if (expected == "dated") {
        CHECK(got != "refused");
      } else {
        CHECK(got == expected);
      }
      ++compared;
    }
  }
  std::cout << compared << " renderings of others' templates compared, " << others
            << " templates absent or of another version\n";
  CHECK(compared > 0);
}

}  // namespace klens
