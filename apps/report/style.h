#pragma once

namespace klens::apps {

// The page's style sheet: a light and a dark ground, as the reader's system says, and paper.
extern const char* const kReportStyle;

}  // namespace klens::apps
