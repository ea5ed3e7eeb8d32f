#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/report/inputs.h"
#include "apps/report/page.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

void run_report(const Arguments& arguments) {
  std::vector<std::string> read = arguments.positionals();
  const std::string output = arguments.text_or("output", ""),
                    peers = arguments.text_or("peers", "");
  if (read.empty())
    throw UsageError("no FILE is given: name what klens profile, plan or sweep have written");
  if (output.empty()) throw UsageError("-o FILE.html is missing");
  const std::vector<std::string> files = read;
  read.push_back(peers);
  check_output(output, ".html", read);
  const ReportInputs inputs = read_inputs(files, peers);
  const std::string page = report_page(inputs);
  write_file(output, page);
  if (arguments.flag("json")) {
    print_json({{"output", output}, {"bytes", page.size()}});
  } else {
    print(report_line("written", output + ", " + human_bytes(static_cast<double>(page.size()))));
  }
}

}  // namespace

Command report_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin(),
                        {{"o,output", "FILE.html", "the page to write"},
                         {"peers", "FILE",
                          "points of other engines beside the sweep's: JSON, a list of objects "
                          "with name, bytes, the KL under its metric's name, and engine if you "
                          "like"}});
  return {"report",
          "FILE [FILE ...] -o report.html [options]",
          "one page that shows profiles, plans and sweeps",
          "Draws what klens profile, plan and sweep have written (each FILE is known by what is in "
          "it): the frontier of every method, predicted against measured KL, how sensitive every "
          "matrix is by every metric, the format that plans give it, and how far metrics agree. "
          "The page is one HTML file that needs no network and no script; it follows the system's "
          "light or dark theme, prints, and has every number in a table. Plans need the profile "
          "that they were made from.",
          "  klens report profile.json -o report.html\n"
          "  klens report profile.json plan.json sweep.json -o report.html\n"
          "  klens report sweep.json --peers llama.cpp.json -o report.html\n",
          {output},
          run_report};
}

}  // namespace klens::apps
