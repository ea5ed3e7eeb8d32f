#pragma once
#include "klens/klens.h"
#include "loaders/grammar/matcher.h"

namespace klens {

klens_grammar_progress progress_of(const grammar::Matcher& matcher);

}  // namespace klens
