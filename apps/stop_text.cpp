#include "apps/stop_text.h"

#include <algorithm>
#include <utility>

namespace klens::apps {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopText::push(std::string_view piece) {
  if (found_) return "";
  held_ += piece;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  if (end != std::string::npos) {
    found_ = true;
    return std::exchange(held_, "").substr(0, end);
  }
  // The longest end of the text that a stop string begins with.
  size_t kept = 0;
  for (const std::string& stop : stops_) {
    size_t length = std::min(stop.size() - 1, held_.size());
    while (length > kept && !held_.ends_with(std::string_view(stop).substr(0, length))) --length;
    kept = std::max(kept, length);
  }
  const size_t shown = held_.size() - kept;
  std::string text = held_.substr(0, shown);
  held_.erase(0, shown);
  return text;
}

std::string StopText::finish() { return std::exchange(held_, ""); }

}  // namespace klens::apps
