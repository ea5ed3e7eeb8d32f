#include "engine/blocks/selective_scan.h"

namespace klens {

SelectiveScan::SelectiveScan(const SelectiveScanSpec& spec, const MixerContext& context)
    : spec_(spec),
      conv_(spec.conv_weight, spec.conv_bias, context),
      slot_(context.slot({.kind = StateSlot::Kind::kSelectiveScan,
                          .channels = spec.d_inner,
                          .states = spec.d_state})),
      a_(context.transposed(spec.a_log, spec.d_inner, spec.d_state,
                            [&device = context.device](const Rows& a) { device.negate_exp(a); })),
      d_(context.values(spec.d)),
      dt_bias_(context.values(spec.dt_bias)) {
  for (const MatrixId id : spec.x_proj) x_proj_.push_back(context.matrix(id));
  for (const MatrixId id : spec.dt_proj) dt_proj_.push_back(context.matrix(id));
  if (spec.dt_norm)
    for (const NormSpec& norm : {*spec.dt_norm, *spec.b_norm, *spec.c_norm})
      bcdt_norms_.emplace_back(norm, context);
}

SelectiveScan::Parts SelectiveScan::parts(const Rows& dbc, int64_t head) const {
  const Rows own = dbc.columns(head * head_width(), head_width());
  return {own.columns(0, spec_.dt_rank), own.columns(spec_.dt_rank, spec_.d_state),
          own.columns(spec_.dt_rank + spec_.d_state, spec_.d_state)};
}

Rows SelectiveScan::run(const Rows& x, const Rows& z, Flow& flow, const Pass& pass) const {
  const int64_t rows = x.count();
  const Rows xc = flow.take(rows, spec_.d_inner);
  if (flow.due()) conv_.run(x, xc, pass);

  for (const MatrixId id : spec_.x_proj) flow.reach(id);
  const Rows dbc = flow.take(rows, heads() * head_width());
  if (flow.due()) project(xc, dbc, pass);

  for (const MatrixId id : spec_.dt_proj) flow.reach(id);
  const Rows gated = flow.take(rows, spec_.d_inner);
  if (flow.due()) scan(xc, dbc, z, gated, pass);
  return gated;
}

void SelectiveScan::project(const Rows& xc, const Rows& dbc, const Pass& pass) const {
  for (int64_t h = 0; h < heads(); ++h) {
    LinearInput input(xc.columns(h * channels(), channels()));
    pass.lane.linear(units_of(x_proj_[static_cast<size_t>(h)], pass.weights), input, {},
                     dbc.columns(h * head_width(), head_width()));
    if (bcdt_norms_.empty()) continue;
    const Parts own = parts(dbc, h);
    bcdt_norms_[0].run(own.dt, own.dt, pass);
    bcdt_norms_[1].run(own.b, own.b, pass);
    bcdt_norms_[2].run(own.c, own.c, pass);
  }
}

void SelectiveScan::scan(const Rows& xc, const Rows& dbc, const Rows& z, const Rows& gated,
                         const Pass& pass) const {
  for (int64_t h = 0; h < heads(); ++h) {
    const auto own = [&](const Rows& all) { return all.columns(h * channels(), channels()); };
    const Parts part = parts(dbc, h);
    advance(SelectiveScanArgs{.dt_proj = units_of(dt_proj_[static_cast<size_t>(h)], pass.weights),
                              .x = own(xc),
                              .z = own(z),
                              .dt = part.dt,
                              .b = part.b,
                              .c = part.c,
                              .a = own(a_),
                              .d = own(d_),
                              .dt_bias = own(dt_bias_),
                              .slot = slot_,
                              .first = h * channels(),
                              .y = own(gated)},
            pass);
  }
}

}  // namespace klens
