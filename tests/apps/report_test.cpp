// The page that shows profiles, plans and sweeps.
#include <catch2/catch.hpp>
#include <set>

#include "quant/planner.h"
#include "tests/apps/report_files.h"
#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

// Tags that are opened and closed in order, quoted attributes, ids that are unique and referred to.
class Markup {
 public:
  explicit Markup(const std::string& page) : page_(page) {
    for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at)) at = tag(at);
    CHECK(open_.empty());
    for (const std::string& id : referred_) {
      INFO(id);
      CHECK(ids_.count(id) == 1);
    }
  }
  size_t count(const std::string& name) const {
    const auto at = counts_.find(name);
    return at == counts_.end() ? 0 : at->second;
  }

 private:
  size_t tag(size_t begin) {
    const size_t end = page_.find('>', begin);
    REQUIRE(end != std::string::npos);
    std::string inside = page_.substr(begin + 1, end - begin - 1);
    if (inside.starts_with("!DOCTYPE")) return end;
    INFO(inside);
    if (inside.starts_with("/")) {
      REQUIRE(!open_.empty());
      CHECK(open_.back() == inside.substr(1));
      open_.pop_back();
      return end;
    }
    const bool closed = inside.ends_with("/");
    const std::string name = inside.substr(0, inside.find_first_of(" /\n"));
    ++counts_[name];
    attributes(inside.substr(name.size()));
    if (!closed && name != "meta") open_.push_back(name);
    return name == "style" ? page_.find("</style>", end) : end;
  }

  void attributes(const std::string& text) {
    for (const char* once : {" class=", " style=", " id="})
      if (const size_t at = text.find(once); at != std::string::npos)
        CHECK(text.find(once, at + 1) == std::string::npos);
    CHECK(std::count(text.begin(), text.end(), '"') % 2 == 0);
    const auto value = [&](const std::string& key) {
      const size_t at = text.find(" " + key + "=\"");
      if (at == std::string::npos) return std::string();
      const size_t begin = at + key.size() + 3;
      return text.substr(begin, text.find('"', begin) - begin);
    };
    if (const std::string id = value("id"); !id.empty()) CHECK(ids_.insert(id).second);
    std::istringstream labels(value("aria-labelledby"));
    for (std::string id; labels >> id;) referred_.push_back(id);
    if (const std::string link = value("href"); !link.empty()) {
      CHECK(link[0] == '#');
      referred_.push_back(link.substr(1));
    }
  }

  const std::string& page_;
  std::vector<std::string> open_, referred_;
  std::set<std::string> ids_;
  std::map<std::string, size_t> counts_;
};

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("report draws a profile, plans, a sweep and other engines' points on one page") {
  const Folder folder;
  const ReportExample example(folder);
  const Outcome outcome = run(example.call(folder / "report.html"));
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const std::string page = read_text(folder / "report.html");
  const Markup markup(page);
  // Nothing from elsewhere, and no script.
  for (const char* part : {"http:", "https:", "<script", "src=", "url(", "@import", "onclick"})
    CHECK_THAT(page, !Catch::Contains(part));
  for (const char* part :
       {"Frontier", "Predicted and measured", "Sensitivity", "Agreement of metrics", "Provenance",
        "prefers-color-scheme: dark", "@media print", "name=\"viewport\"", "lang=\"en\""})
    CHECK_THAT(page, Catch::Contains(part));
  CHECK(markup.count("h1") == 1);
  CHECK(markup.count("h2") == 6);
  CHECK(markup.count("svg") == count_of(page, "</svg>"));
  // A picture has a name and a description; a legend's is none.
  CHECK(count_of(page, "role=\"img\"") == count_of(page, "<desc "));
  // All metrics of the profile have a map, and a row and a column where they are compared.
  const json profile = json::parse(profile_text());
  for (const klens::Metric* metric : klens::kMetrics)
    CHECK_THAT(page, Catch::Contains(std::string("<h3>") + metric->name + "</h3>") &&
                         Catch::Contains(std::string("<th scope=\"row\">") + metric->name));
  // Every unit is in the tables, every method in the legend, every peer by its name.
  for (const json& unit : profile["units"])
    CHECK(count_of(page, unit["name"].get<std::string>()) >= 2 + 2);
  const json sweep = example.sweep();
  for (const json& method : sweep["methods"])
    CHECK_THAT(page, Catch::Contains("</svg> " + method.get<std::string>() + "</li>") ||
                         Catch::Contains("no plan"));
  CHECK_THAT(page, Catch::Contains("Q4_K_M") && Catch::Contains("llama.cpp"));
  CHECK_THAT(page, Catch::Contains(profile["model"]["checkpoint_xxh3"].get<std::string>()));
  CHECK(run_json(example.call(folder / "again.html") +
                 std::vector<std::string>{"--json"})["bytes"] == page.size());
  CHECK(read_text(folder / "again.html") == page);
}

TEST_CASE("report shows what it is given") {
  const Folder folder;
  const ReportExample example(folder);
  const auto page_of = [&](const std::vector<std::string>& files) {
    const std::string out = folder / "page.html";
    const Outcome outcome = run(std::vector<std::string>{"report", "-o", out} + files);
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    const std::string page = read_text(out);
    Markup{page};
    return page;
  };
  const std::string profile = page_of({example.profile_path});
  CHECK_THAT(profile, Catch::Contains("Sensitivity") && !Catch::Contains("id=\"frontier\"") &&
                          !Catch::Contains("id=\"plans\""));
  const std::string sweep = page_of({example.sweep_path});
  CHECK_THAT(sweep, Catch::Contains("id=\"frontier\"") && !Catch::Contains("id=\"sensitivity\""));
  CHECK_THAT(page_of({example.plan_path, example.profile_path}), Catch::Contains("id=\"plans\""));
}

TEST_CASE("names in files are never markup") {
  const Folder folder;
  const ReportExample example(folder);
  const std::string bad = "<script>alert('1')</script>\"x\" onload=\"y",
                    shown = "&lt;script&gt;alert";
  json profile = json::parse(profile_text()), plan = json::parse(read_text(example.plan_path)),
       sweep = example.sweep();
  const std::string unit = profile["units"][1]["name"];
  profile["units"][1]["name"] = bad;
  profile["units"][1]["kind"] = bad;
  plan["units"][bad] = plan["units"][unit];
  plan["units"].erase(unit);
  plan["method"] = plan["budget"] = bad;
  plan["units"][bad]["format"] = bad;
  profile["model"]["name"] = profile["model"]["architecture"] = bad;
  profile["calibration"]["source"] = bad;
  sweep["model"]["name"] = sweep["tool"] = sweep["evaluation"]["text"] = bad;
  sweep["machine"]["isa"] = sweep["source_formats"] = bad;
  const json method = sweep["methods"][0];
  sweep["methods"][0] = bad;
  for (json& point : sweep["points"]) {
    if (point["method"] == method) point["method"] = bad;
    point["budget"] = bad;
  }
  write_text(folder / "p.json", profile.dump());
  write_text(folder / "l.json", plan.dump());
  write_text(folder / "s.json", sweep.dump());
  write_text(folder / "e.json",
             json::array({{{"name", bad}, {"engine", bad}, {"bytes", 3e6}, {"kl", 0.01}}}).dump());
  const Outcome outcome = run({"report", folder / "p.json", folder / "l.json", folder / "s.json",
                               "--peers", folder / "e.json", "-o", folder / "report.html"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const std::string page = read_text(folder / "report.html");
  const Markup markup(page);
  CHECK(markup.count("script") == 0);
  CHECK_THAT(page, !Catch::Contains("<script") && !Catch::Contains("\"x\"") &&
                       !Catch::Contains("alert('"));
  CHECK(count_of(page, shown) > 20);
}

TEST_CASE("report refuses in one line what it cannot show") {
  const Folder folder;
  const ReportExample example(folder);
  const std::string out = folder / "report.html", file = folder / "bad.json";
  const auto refused = [&](const std::vector<std::string>& files, const std::string& mentions) {
    check_failure(std::vector<std::string>{"report", "-o", out} + files, mentions);
    CHECK_FALSE(exists(out));
  };
  const auto refused_text = [&](const std::string& text, const std::string& mentions) {
    write_text(file, text);
    refused({file}, file + ": " + mentions);
  };
  refused({folder / "missing.json"}, "missing.json");
  const std::string profile = profile_text();
  refused_text("", "is no JSON");
  refused_text(profile.substr(0, profile.size() / 2), "is no JSON");
  refused_text("{}", "is no profile, no plan and no sweep");
  refused_text("[1]", "is no profile, no plan and no sweep");
  refused_text(std::string(100000, '['), "is no JSON");
  json damaged = json::parse(profile);
  damaged["units"][0]["candidates"] = 5;
  refused_text(damaged.dump(), "unit ");
  damaged["units"] = json::array();
  refused_text(damaged.dump(), "key 'units'");

  refused({example.profile_path, example.profile_path}, "second profile");
  refused({example.sweep_path, example.sweep_path}, "second sweep");
  refused({example.plan_path}, "give the profile that it was made from");
  json plan = json::parse(read_text(example.plan_path));
  plan["units"]["another"] = plan["units"].begin().value();
  write_text(file, plan.dump());
  refused({file, example.profile_path}, "bad.json: is of another model than");
  plan["units"].erase("another");
  plan["units"].erase(plan["units"].begin());
  write_text(file, plan.dump());
  refused({file, example.profile_path}, "it lacks unit");
  plan["units"] = {{"a", 1}};
  write_text(file, plan.dump());
  refused({file, example.profile_path}, "no format");

  json sweep = example.sweep();
  sweep["model"]["checkpoint_xxh3"] = "0123456789abcdef";
  write_text(file, sweep.dump());
  refused({file, example.profile_path}, "bad.json: is of another model than");
  sweep = example.sweep();
  sweep["klens_sweep"] = 2;
  refused_text(sweep.dump(), "is of schema");
  sweep = example.sweep();
  sweep["points"][0].erase("bytes");
  sweep["points"][0].erase("refused");
  refused_text(sweep.dump(), "point 0 has no bytes");
  sweep = example.sweep();
  sweep.erase("machine");
  refused_text(sweep.dump(), "lacks 'machine'");
  sweep = example.sweep();
  for (json& point : sweep["points"]) point["refused"] = "too small";
  refused_text(sweep.dump(), "has no measured point, so there is nothing to report");

  const auto refused_peers = [&](const std::string& text, const std::string& mentions) {
    write_text(file, text);
    refused({example.sweep_path, "--peers", file}, file + ": " + mentions);
  };
  refused_peers("x", "is no JSON");
  refused_peers("{}", "is no list");
  refused_peers("[]", "holds no points");
  refused_peers("[{\"name\": \"a\", \"bytes\": -1, \"kl\": 1}]", "point 0 has no bytes");
  refused_peers("[{\"name\": \"a\", \"bytes\": 1}]", "point 0 has no kl");
  refused_peers("[{\"bytes\": 1, \"kl\": 1}]", "point 0 has no name");
  write_text(file, "[{\"name\": \"a\", \"bytes\": 1, \"kl\": 1}]");
  refused({example.profile_path, "--peers", file}, "give its sweep.json too");
  check_failure({"report", example.profile_path, "-o", folder / "out.json"}, "out.json");
}
