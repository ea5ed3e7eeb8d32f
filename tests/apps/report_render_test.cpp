// The report as a browser lays it out: narrow and wide, light and dark.
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>

#include "tests/apps/report_files.h"
#include "tests/apps/run_program.h"
#include "tests/skipped.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

// "" where there is none.
std::string browser() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
      if (::access((folder + "/" + name).c_str(), X_OK) == 0) return folder + "/" + name;
  return "";
}

// What the browser writes to standard output.
std::string browse(const std::string& options, const std::string& page) {
  const Folder folder;  // a user's own files stay out of it
  const std::string command =
      "timeout 120 '" + browser() + "' --headless=new --disable-gpu --hide-scrollbars " +
      (::geteuid() == 0 ? "--no-sandbox " : "") +
      "--allow-file-access-from-files --user-data-dir='" + (folder / "user") +
      "' --virtual-time-budget=5000 " + options + " 'file://" + page + "' 2>/dev/null";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  std::array<char, 4096> part{};
  while (const size_t got = std::fread(part.data(), 1, part.size(), pipe))
    out.append(part.data(), got);
  CHECK(::pclose(pipe) == 0);
  return out;
}

// A page around the report, which measures it in a frame of that width: the report itself has no
// script.
std::string frame(int width, bool unfolded) {
  return "<!DOCTYPE html><body><iframe id=f src='report.html' height=900 width=" +
         std::to_string(width) + R"(></iframe><p id=r></p><script>
const f = document.getElementById('f');
f.onload = () => {
  const d = f.contentDocument;
  const said = {};
  if ()" +
         (unfolded ? "true" : "false") +
         R"() d.querySelectorAll('details').forEach(x => x.open = true);
  said.width = d.documentElement.scrollWidth;
  said.height = d.documentElement.scrollHeight;
  said.beyond = [];
  said.small = [];
  said.pictures = 0;
  for (const svg of d.querySelectorAll('svg[role=img]')) {
    const box = svg.getBoundingClientRect();
    if (box.width === 0) continue;
    ++said.pictures;
    const scale = box.width / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll('text')) {
      const b = text.getBoundingClientRect();
      if (b.left < 0 || b.right > d.documentElement.clientWidth + 0.5)
        said.beyond.push(text.textContent);
      const size = parseFloat(f.contentWindow.getComputedStyle(text).fontSize) * scale;
      if (size < 9.5) said.small.push(text.textContent + ' ' + size);
    }
  }
  document.getElementById('r').textContent = 'SAID' + JSON.stringify(said) + 'END';
};
</script></body>)";
}

json measured(const Folder& folder, int width, bool unfolded) {
  write_text(folder / "frame.html", frame(width, unfolded));
  const std::string dom = browse("--dump-dom", folder / "frame.html");
  const size_t begin = dom.find("SAID{"), end = dom.find("}END");
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  return json::parse(dom.substr(begin + 4, end + 1 - begin - 4));
}

}  // namespace

TEST_CASE("a browser lays the report out without overflow, in readable letters", "[browser]") {
  if (browser().empty()) {
    WARN("skipped: there is no chromium");
    skipped = true;
    return;
  }
  const Folder folder;
  const ReportExample example(folder);
  const Outcome outcome = run(example.call(folder / "report.html"));
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  for (const int width : {360, 400, 1400})
    for (const bool unfolded : {false, true}) {
      const json said = measured(folder, width, unfolded);
      CAPTURE(width, unfolded, said.dump());
      CHECK(said["width"] <= width);
      CHECK(said["height"] > 1500);
      CHECK(said["beyond"].empty());
      CHECK(said["small"].empty());
      CHECK(said["pictures"] >= 4);
    }

  // A blank picture of this size has some 5 KB.
  uintmax_t bytes[2];
  for (const int light : {0, 1}) {
    const std::string picture = folder / ("page" + std::to_string(light) + ".png");
    browse("--blink-settings=preferredColorScheme=" + std::to_string(light) +
               " --window-size=1000,1600 --screenshot='" + picture + "'",
           folder / "report.html");
    bytes[light] = std::filesystem::file_size(picture);
    CHECK(bytes[light] > 40000);
  }
  CHECK(bytes[0] != bytes[1]);
}
