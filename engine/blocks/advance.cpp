#include "engine/blocks/advance.h"

namespace klens {
namespace {

// What the arguments have of one row.
Conv1dArgs row_of(Conv1dArgs args, int64_t row) {
  for (Rows* rows : {&args.x, &args.y}) *rows = rows->rows(row, 1);
  return args;
}
ShortConvArgs row_of(ShortConvArgs args, int64_t row) {
  for (Rows* rows : {&args.before, &args.after, &args.x, &args.y}) *rows = rows->rows(row, 1);
  return args;
}
SelectiveScanArgs row_of(SelectiveScanArgs args, int64_t row) {
  for (Rows* rows : {&args.x, &args.z, &args.dt, &args.b, &args.c, &args.y})
    *rows = rows->rows(row, 1);
  return args;
}
SsdScanArgs row_of(SsdScanArgs args, int64_t row) {
  for (Rows* rows : {&args.dt, &args.x, &args.b, &args.c, &args.y}) *rows = rows->rows(row, 1);
  return args;
}
DeltaRuleArgs row_of(DeltaRuleArgs args, int64_t row) {
  for (Rows* rows : {&args.q, &args.k, &args.v, &args.decay, &args.beta, &args.y})
    *rows = rows->rows(row, 1);
  return args;
}
AttendArgs row_of(AttendArgs args, int64_t row) {
  for (Rows* rows : {&args.q, &args.y}) *rows = rows->rows(row, 1);
  return args;
}

// The part of a state that an operation goes on from.
template <class Args>
Rows part_of(const SequenceState& state, const Args& args) {
  const int64_t floats = state.layout->bytes(args.slot) / static_cast<int64_t>(sizeof(float));
  return {state.slot(args.slot), 1, floats};
}
// Of a head, the channels.
Rows part_of(const SequenceState& state, const SelectiveScanArgs& args) {
  const StateSlot& slot = state.layout->slot(args.slot);
  return Rows(state.slot(args.slot), slot.states, slot.channels)
      .columns(args.first, args.x.width());
}

Batch batch_of(const Sequence& alone) { return Batch(std::span<const Sequence>(&alone, 1)); }

// run(row, that token as the only one of a batch) for each token of a draft.
template <class Run>
void each_token(const Batch& batch, const Run& run) {
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    Sequence alone = batch.sequences[i];
    alone.row = 0;
    run(i, alone);
  }
}

template <class Args>
void advance_state(const Args& args, const Pass& pass,
                   void (Lane::*operation)(const Args&, const Batch&)) {
  Lane& lane = pass.lane;
  const SequenceState* before = pass.batch.drafted;
  if (before == nullptr) return (lane.*operation)(args, pass.batch);
  each_token(pass.batch, [&](size_t row, const Sequence& alone) {
    lane.copy(part_of(*before, args), part_of(*alone.state, args));
    (lane.*operation)(row_of(args, static_cast<int64_t>(row)), batch_of(alone));
    before = alone.state;
  });
}

}  // namespace

void advance(const Conv1dArgs& args, const Pass& pass) { advance_state(args, pass, &Lane::conv1d); }
void advance(const ShortConvArgs& args, const Pass& pass) {
  advance_state(args, pass, &Lane::short_conv);
}
void advance(const SelectiveScanArgs& args, const Pass& pass) {
  advance_state(args, pass, &Lane::selective_scan);
}
void advance(const SsdScanArgs& args, const Pass& pass) {
  advance_state(args, pass, &Lane::ssd_scan);
}
void advance(const DeltaRuleArgs& args, const Pass& pass) {
  advance_state(args, pass, &Lane::delta_rule);
}

// Keys and values of all tokens lie in the one cache that there is: a query does not see those
// behind it, and those of tokens that are taken back are forgotten.
void store_kv(size_t cache, const Rows& k, const Rows& v, const Pass& pass) {
  if (pass.batch.drafted == nullptr) return pass.lane.store_kv(cache, k, v, pass.batch);
  each_token(pass.batch, [&](size_t row, Sequence& alone) {
    alone.state = pass.batch.drafted;
    const auto at = static_cast<int64_t>(row);
    pass.lane.store_kv(cache, k.rows(at, 1), v.rows(at, 1), batch_of(alone));
  });
}

void attend(const AttendArgs& args, const Pass& pass) {
  if (pass.batch.drafted == nullptr) return pass.lane.attend(args, pass.batch);
  each_token(pass.batch, [&](size_t row, Sequence& alone) {
    alone.state = pass.batch.drafted;
    pass.lane.attend(row_of(args, static_cast<int64_t>(row)), batch_of(alone));
  });
}

}  // namespace klens
