#include "apps/report/html.h"

#include "apps/cli/output.h"
#include "apps/svg_chart.h"

namespace klens::apps {

std::string section(const std::string& id, const std::string& title, const std::string& html) {
  return "<section aria-labelledby=\"" + escaped(id) + "\">\n<h2 id=\"" + escaped(id) + "\">" +
         escaped(title) + "</h2>\n" + html + "</section>\n";
}

std::string paragraph(const std::string& text, const char* style) {
  return std::string("<p") + (*style == 0 ? "" : formatted(" class=\"%s\"", style)) + ">" +
         escaped(text) + "</p>\n";
}

std::string folded(const std::string& summary, const std::string& html) {
  return "<details><summary>" + escaped(summary) + "</summary>\n" + html + "</details>\n";
}

std::string table(const Table& t) {
  const auto style = [&](size_t column) {
    return column < t.numbers.size() && t.numbers[column] ? " class=\"number\"" : "";
  };
  std::string out = "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"" +
                    escaped(t.caption) + "\"><table>\n<caption>" + escaped(t.caption) +
                    "</caption>\n<thead><tr>";
  for (size_t c = 0; c < t.head.size(); ++c)
    out += std::string("<th scope=\"col\"") + style(c) + ">" + escaped(t.head[c]) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& row : t.rows) {
    out += "<tr>";
    for (size_t c = 0; c < row.size(); ++c)
      out += c == 0 ? "<th scope=\"row\">" + escaped(row[c]) + "</th>"
                    : std::string("<td") + style(c) + ">" + escaped(row[c]) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string description_list(const std::vector<std::pair<std::string, std::string>>& list) {
  std::string out = "<dl>\n";
  for (const auto& [name, value] : list)
    out += "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(value) + "</dd></div>\n";
  return out + "</dl>\n";
}

std::string picture(const Picture& p, const char* style) {
  const std::string id = escaped(p.id);
  return formatted("<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\"",
                   p.width, p.height, p.width, p.height) +
         (*style == 0 ? "" : formatted(" class=\"%s\"", style)) + " aria-labelledby=\"" + id +
         "-t " + id + "-d\">\n<title id=\"" + id + "-t\">" + escaped(p.title) +
         "</title>\n<desc id=\"" + id + "-d\">" + escaped(p.about) + "</desc>\n" + p.shapes +
         "</svg>\n";
}

std::string label(double x, double y, const char* anchor, const std::string& text,
                  const std::string& more) {
  return formatted("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"", x, y, anchor) +
         (more.empty() ? "" : " " + more) + ">" + escaped(text) + "</text>\n";
}

std::string brief_number(double value) { return formatted("%.3g", value); }

}  // namespace klens::apps
