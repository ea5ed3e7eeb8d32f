#pragma once
#include <string>
#include <vector>

namespace klens::apps {

// Parts of the page. Arguments called `html` are markup; all others are texts and are escaped.

// <h2> and what belongs to it.
std::string section(const std::string& id, const std::string& title, const std::string& html);
std::string paragraph(const std::string& text, const char* style = "");
// Folded: a summary that the keyboard reaches, and what it hides.
std::string folded(const std::string& summary, const std::string& html);

// A table in a box that scrolls by itself, and by the keyboard. Cells of `numbers` (by column) are
// set flush right.
struct Table {
  std::string caption;
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> numbers;
};
std::string table(const Table& table);

// Names and values.
std::string description_list(const std::vector<std::pair<std::string, std::string>>& list);

// An image made of `shapes`, SVG in a box of width x height, with what a screen reader says.
// `id` is unique on the page.
struct Picture {
  std::string id, title, about;
  double width, height;
  std::string shapes;
};
std::string picture(const Picture& picture, const char* style = "");

// A text in a picture; more: further attributes.
std::string label(double x, double y, const char* anchor, const std::string& text,
                  const std::string& more = "");

// "0.00123", "4.21", "1.2e-06": three digits that count.
std::string brief_number(double value);

}  // namespace klens::apps
