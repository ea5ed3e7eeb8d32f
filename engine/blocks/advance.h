#pragma once
#include "engine/pass.h"

namespace klens {

// The operations that go on from a sequence's state, for all tokens of a pass. Where the pass is of
// drafts (Batch::drafted) they go token by token, each with the arithmetic of one that is alone,
// from the state that the one before has left to a state of its own.
void advance(const Conv1dArgs& args, const Pass& pass);
void advance(const ShortConvArgs& args, const Pass& pass);
void advance(const SelectiveScanArgs& args, const Pass& pass);
void advance(const SsdScanArgs& args, const Pass& pass);
void advance(const DeltaRuleArgs& args, const Pass& pass);
void store_kv(size_t cache, const Rows& k, const Rows& v, const Pass& pass);
void attend(const AttendArgs& args, const Pass& pass);

}  // namespace klens
