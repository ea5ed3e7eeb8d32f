#include "loaders/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "loaders/output_path.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

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

TEST_CASE("what a link points to is written, the link stays", "[atomic-file]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "there");
  write_bytes(folder / "there/file", "old");
  fs::create_symlink("there/file", folder / "link");
  fs::create_symlink("link", folder / "link-to-link");
  fs::create_symlink("there/new", folder / "dangling");
  for (const auto& [name, target] :
       {std::pair{"link", "there/file"}, std::pair{"link-to-link", "there/file"},
        std::pair{"dangling", "there/new"}}) {
    CAPTURE(name);
    AtomicFile file(folder / name);
    file.write(name);
    file.commit();
    CHECK(fs::is_symlink(folder / name));
    CHECK(read_bytes(folder / target) == name);
  }
  fs::create_symlink("ring", folder / "ring");
  CHECK_THROWS_WITH(AtomicFile(folder / "ring"), Catch::Contains("is a ring of links"));
  CHECK(files_in(folder) == 5);  // no temporary was left
}

TEST_CASE("a stream is written to where one will do", "[atomic-file]") {
  const TemporaryFolder folder;
  const std::string path = folder / "out";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0666);
  REQUIRE(fd >= 0);
  const std::string name = "/dev/fd/" + std::to_string(fd);
  CHECK_THROWS_WITH(AtomicFile(name), Catch::Contains("is not a regular file"));
  fs::create_symlink(name, folder / "link");
  for (const std::string& each : {name, folder / "link"}) {
    AtomicFile file(each, Streams::kAllowed);
    file.write("text ");
    file.commit();
  }
  REQUIRE(::write(fd, "more", 4) == 4);  // behind, as the descriptor is shared
  ::close(fd);
  CHECK(read_bytes(path) == "text text more");
  CHECK(fs::is_symlink(folder / "link"));
  AtomicFile null("/dev/null", Streams::kAllowed);
  null.write("gone");
  null.commit();
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("an output that cannot be is refused before any work", "[output]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "model");
  write_bytes(folder / "model/model.safetensors", "weights");
  write_bytes(folder / "m.klens", "model");
  fs::create_symlink("m.klens", folder / "link.klens");
  fs::create_hard_link(folder / "m.klens", folder / "hard.klens");
  fs::create_symlink("model/model.safetensors", folder / "weights.klens");
  const std::vector<std::string> inputs = {folder / "model", folder / "m.klens"};
  const auto refused = [&](const std::string& name, const char* words, int64_t bytes = 0) {
    CAPTURE(name);
    const size_t before = files_in(folder);
    CHECK_THROWS_WITH(
        check_output(folder / name, {.ending = ".klens", .inputs = inputs, .bytes = bytes}),
        Catch::StartsWith(folder / name + ": ") && Catch::Contains(words));
    CHECK(files_in(folder) == before);
  };
  for (const char* name :
       {"m.klens", "link.klens", "hard.klens", "weights.klens", "model/../m.klens"})
    refused(name, "is the file that is read");
  for (const char* name : {"new.gguf", "new.GGUF", "new.safetensors", "new.json", "new.bin"})
    refused(name, "what is written there is another format");
  refused("none/new.klens", "name a file in a folder that is there");
  refused("model", "is a folder");
  refused("new.klens", "are free there", INT64_MAX);
  for (const char* name : {"new.klens", "new", "v1.5", "other.txt"})
    CHECK_NOTHROW(check_output(folder / name, {.ending = ".klens", .inputs = inputs}));
  CHECK_NOTHROW(check_output("/dev/null", {.ending = ".json", .inputs = {}, .streams = true}));
  CHECK_THROWS(check_output("/dev/null", {.ending = ".klens", .inputs = {}}));
}

}  // namespace klens
