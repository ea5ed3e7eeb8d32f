#include "loaders/tokenizer/split.h"

#include <algorithm>

namespace klens {
namespace {

// Joins each stretch with the one before it where `joins` says so, given whether the stretch and
// the one before it are matches. Keeps everything.
template <typename Iterator, typename Joins, typename Extend>
Iterator join_matches(Iterator begin, Iterator end, const Joins& joins, const Extend& extend) {
  bool previous = false;
  Iterator out = begin;
  for (Iterator i = begin; i != end; ++i) {
    const Match m = *i;
    if (out != begin && joins(m.is_match, previous)) {
      extend(*(out - 1), m);
    } else {
      *out++ = m;
    }
    previous = m.is_match;
  }
  return out;
}

}  // namespace

Behavior read_behavior(Fields& fields, std::optional<Behavior> otherwise) {
  const std::string name =
      otherwise ? fields.text("behavior", std::string()) : fields.text("behavior");
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  if (otherwise && name.empty()) return *otherwise;
  fields.bad(
      "has the unknown behavior \"" + name +
      "\"; klens reads Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous");
}

void apply_behavior(std::vector<Match>& matches, Behavior behavior) {
  const auto extend_right = [](Match& kept, const Match& m) { kept.end = m.end; };
  const auto extend_left = [](Match& kept, const Match& m) { kept.begin = m.begin; };
  const auto same = [](bool match, bool previous) { return match == previous; };
  const auto first_match = [](bool match, bool previous) { return match && !previous; };
  switch (behavior) {
    case Behavior::kIsolated:
      return;
    case Behavior::kRemoved:
      std::erase_if(matches, [](const Match& m) { return m.is_match; });
      return;
    case Behavior::kContiguous:
      matches.erase(join_matches(matches.begin(), matches.end(), same, extend_right),
                    matches.end());
      return;
    case Behavior::kMergedWithPrevious:
      matches.erase(join_matches(matches.begin(), matches.end(), first_match, extend_right),
                    matches.end());
      return;
    case Behavior::kMergedWithNext: {
      const auto kept = join_matches(matches.rbegin(), matches.rend(), first_match, extend_left);
      matches.erase(matches.begin(), kept.base());
      return;
    }
  }
}

}  // namespace klens
