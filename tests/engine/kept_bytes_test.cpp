// What an interrupted run has made that is too large for its journal.
#include "engine/jobs/kept_bytes.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "loaders/mapped_file.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

void keep(KeptBytes& in, const std::string& name, const std::vector<float>& first,
          const std::vector<uint16_t>& second) {
  const KeptBytes::Part parts[] = {std::as_bytes(std::span(first)),
                                   std::as_bytes(std::span(second))};
  in.keep(name, parts);
}

std::vector<float> floats_of(const KeptBytes& in, const std::string& name) {
  const auto piece = in.find(name);
  if (!piece) return {};
  REQUIRE(piece->parts.size() == 2);
  return piece->array<float>(0);
}

}  // namespace

TEST_CASE("what is kept is found whole, by its name and run, or not at all", "[kept]") {
  const TemporaryFolder folder;
  const std::string path = folder / "data";
  const std::vector<float> some = {1, -2.5F, 3e30F};
  KeptBytes first(path, "run", false);
  CHECK(!first.find("a"));
  keep(first, "a", some, {7, 8});
  keep(first, "nothing", {}, {});
  CHECK(floats_of(first, "a") == some);
  CHECK(first.find("a")->array<uint16_t>(1) == std::vector<uint16_t>{7, 8});
  CHECK(first.find("nothing")->parts.size() == 2);
  CHECK(!first.find("b"));
  keep(first, "a", {4}, {});
  CHECK(floats_of(first, "a") == std::vector<float>{4});
  first.forget("nothing");
  CHECK(!first.find("nothing"));

  CHECK(floats_of(KeptBytes(path, "run", true), "a") == std::vector<float>{4});
  CHECK(!KeptBytes(path, "another", true).find("a"));
  KeptBytes anew(path, "run", false);
  CHECK(!anew.find("a"));  // it has not looked at what was there
  keep(anew, "c", some, {});
  CHECK(!KeptBytes(path, "run", true).find("a"));
  anew.remove();
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("pieces that are damaged, in any byte, are not found", "[kept]") {
  const TemporaryFolder folder;
  const std::string path = folder / "data";
  KeptBytes kept(path, "run", false);
  keep(kept, "a", {1, 2, 3}, {4});
  const std::string file = std::filesystem::directory_iterator(path)->path();
  const std::string whole = read_text(file);
  const auto found_with = [&](const std::string& text) {
    std::ofstream(file, std::ios::binary) << text;
    return KeptBytes(path, "run", true).find("a").has_value();
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string other = whole;
    other[i] = static_cast<char>(other[i] ^ 4);
    CAPTURE(i);
    CHECK(!found_with(other));
    if (i > 0) CHECK(!found_with(whole.substr(0, i)));
  }
  CHECK(!found_with("9999999999999999 18446744073709551615\n"));
  CHECK(found_with(whole));
}

TEST_CASE("where nothing can be kept a run goes on", "[kept]") {
  KeptBytes nowhere;
  keep(nowhere, "a", {1}, {});
  CHECK(!nowhere.keeps());
  CHECK(!nowhere.find("a"));
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "in the way";
  KeptBytes blocked(std::string(folder / "file") + "/data", "run", false);
  CHECK(blocked.keeps());
  keep(blocked, "a", {1}, {});
  CHECK(!blocked.keeps());
  CHECK(!blocked.find("a"));
}

}  // namespace klens
