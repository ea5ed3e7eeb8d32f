#include "loaders/atomic_file.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

#include "loaders/error.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

size_t files_in(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder.path()), {}));
}

}  // namespace

TEST_CASE("a file has its name once it is committed, and its whole contents", "[atomic-file]") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write_bytes(path, "old");
  {
    AtomicFile file(path);
    file.write("0123456789");
    file.write(" and more");
    CHECK(read_bytes(path) == "old");
    file.write_at_start("abc");
    file.commit();
  }
  CHECK(read_bytes(path) == "abc3456789 and more");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("a file that is not committed leaves nothing", "[atomic-file]") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  { AtomicFile(path).write("half"); }
  CHECK(files_in(folder) == 0);
  write_bytes(path, "old");
  { AtomicFile(path).write("half"); }
  CHECK(read_bytes(path) == "old");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("two files of one name at once do not mix", "[atomic-file]") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  AtomicFile first(path), second(path);
  first.write("first");
  second.write("second");
  first.commit();
  CHECK(read_bytes(path) == "first");
  second.commit();
  CHECK(read_bytes(path) == "second");
}

TEST_CASE("what cannot be written is said, with a cure", "[atomic-file]") {
  const TemporaryFolder folder;
  write_bytes(folder / "file", "");
  REQUIRE(::symlink("/dev/null", (folder / "link").c_str()) == 0);
  struct Row {
    std::string path;
    const char* words;
  };
  const Row rows[] = {{folder / "none/file", "No such file or directory; name a file in a folder"},
                      {folder / "file/file", "Not a directory; name a file in a folder"},
                      {folder.path(), "is a folder; name a file in it"},
                      {folder / std::string(300, 'x'), "File name too long; name"},
                      {"/dev/null", "is not a regular file"},
                      {folder / "link", "is not a regular file"},
                      {"/proc/klens", "cannot write"}};
  for (const Row& row : rows) {
    CAPTURE(row.path);
    CHECK_THROWS_WITH(AtomicFile(row.path),
                      Catch::StartsWith(row.path + ": ") && Catch::Contains(row.words));
  }
  CHECK(fs::is_character_file("/dev/null"));
  CHECK(files_in(folder) == 2);
}

TEST_CASE("a name that became a folder meanwhile is not lost", "[atomic-file]") {
  const TemporaryFolder folder;
  AtomicFile file(folder / "file");
  file.write("text");
  fs::create_directories(folder / "file/inner");
  CHECK_THROWS_WITH(file.commit(), Catch::Contains("cannot rename into place"));
  CHECK(fs::is_directory(folder / "file/inner"));
}

}  // namespace klens
