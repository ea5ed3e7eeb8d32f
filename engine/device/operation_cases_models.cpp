// Cases of what has weights, caches or states.
#include <array>
#include <cstring>
#include <limits>

#include "base/aligned_buffer.h"
#include "engine/device/operation_bench.h"
#include "kernels/half.h"

namespace klens {

using namespace cases;

namespace {

// A unit of random numbers. Padding has the integer 0, as packers leave it.
struct RandomUnit {
  RandomUnit(Layout layout, bool minima, int64_t rows, int64_t cols, int64_t group,
             std::mt19937& random) {
    view = {.layout = layout, .rows = rows, .cols = cols, .group = group};
    const bool tiles = layout >= Layout::kTilesF16;
    buffer = AlignedBuffer(tiles ? tiles_bytes(layout, rows, cols)
                                 : static_cast<size_t>(rows * cols * row_layout_bytes(layout)));
    const std::span data(buffer.data(), buffer.size());
    for (std::byte& byte : data) byte = static_cast<std::byte>(random());
    if (layout == Layout::kTilesI8)
      for (std::byte& byte : data)
        if (byte == std::byte{0x80}) byte = std::byte{0};
    if (layout < Layout::kTilesI8) fill_reals(data, random);
    view.data = data.data();
    if (group == 0) return;
    std::uniform_real_distribution<float> draw(-0.1f, 0.1f);
    const size_t scales = static_cast<size_t>(view.row_tiles() * view.groups() * kTileOutputs);
    for (size_t i = 0; i < scales; ++i) {
      scale.push_back(f32_to_f16(draw(random)));
      min.push_back(f32_to_f16(draw(random)));
    }
    view.scale = scale.data();
    if (minima) view.min = min.data();
  }
  void fill_reals(std::span<std::byte> data, std::mt19937& random) {
    std::uniform_real_distribution<float> draw(-1, 1);
    const size_t bytes = view.layout == Layout::kRowsF32 ? 4 : 2;
    for (size_t at = 0; at + bytes <= data.size(); at += bytes) {
      const float x = draw(random);
      const uint16_t half = view.layout == Layout::kRowsBf16 ? f32_to_bf16(x) : f32_to_f16(x);
      std::memcpy(data.data() + at, bytes == 4 ? static_cast<const void*>(&x) : &half, bytes);
    }
  }

  AlignedBuffer buffer;
  std::vector<uint16_t> scale, min;
  WeightView view;
};

// Units of a matrix, one below the other: all but the last have whole tiles.
struct RandomMatrix {
  std::vector<std::shared_ptr<const RandomUnit>> units;
  int64_t rows = 0;
};

RandomMatrix random_matrix(const CaseSizes& s, Layout layout, bool minima, int64_t group) {
  std::mt19937 random(s.seed);
  RandomMatrix matrix;
  for (const int64_t rows : {int64_t{32}, int64_t{32}, s.width / 2 + 1}) {
    matrix.units.push_back(
        std::make_shared<RandomUnit>(layout, minima, rows, s.width, group, random));
    matrix.rows += rows;
  }
  return matrix;
}

// The matrix's share of |W| |x| for each output: what magnitudes cannot have, as weights are the
// same.
Floats absolute_sums(const RandomMatrix& matrix) {
  Floats sums;
  for (const auto& unit : matrix.units) {
    const WeightView& w = unit->view;
    Floats row(static_cast<size_t>(w.cols));
    for (int64_t n = 0; n < w.rows; ++n) {
      expand_row(w, n, row.data());
      double sum = 0;
      for (int64_t k = 0; k < w.cols; ++k) {
        double term = std::fabs(double{row[static_cast<size_t>(k)]});
        if (w.min != nullptr) {
          const int64_t at = (n / 16 * w.groups() + k / w.group) * 16 + n % 16;
          term += 2 * std::fabs(double{f16_to_f32(w.min[at])});
        }
        sum += term;
      }
      sums.push_back(static_cast<float>(sum));
    }
  }
  return sums;
}

std::vector<Weight> adopt(Device& device, const RandomMatrix& matrix, int64_t group, int planes) {
  std::vector<Weight> weights;
  for (const auto& unit : matrix.units) {
    const Device::Adopted adopted = device.adopt(unit->view);
    Weight weight;
    weight.view = adopted.view;
    weight.memory = adopted.memory;
    weight.activation_group = group;
    weight.activation_planes = planes;
    weights.push_back(std::move(weight));
  }
  return weights;
}

}  // namespace

void cases::give_rounded(Bench& b, const Rows& x, int planes) {
  constexpr int64_t kOutputs = 16, kGroup = 32;
  std::mt19937 random(7);
  const RandomMatrix matrix{{std::make_shared<const RandomUnit>(Layout::kTilesI8, false, kOutputs,
                                                                x.width(), kGroup, random)},
                            kOutputs};
  const std::vector<Weight> weights = adopt(b.device(), matrix, kGroup, planes);
  const Rows first = b.empty(x.count(), kOutputs), second = b.empty(x.count(), kOutputs);
  LinearInput at_once(x), later(x);
  b.lane().linear(weights, at_once, {}, first);
  b.lane().linear(weights, later, {}, second);
  b.give(x);
  const float *made = b.lane().host(first), *again = b.lane().host(second);
  double other = 0;
  for (int64_t i = 0; i < x.count() * kOutputs; ++i) other += made[i] != again[i];
  b.values.push_back(other);
}

namespace {

// Magnitudes are what bounds take: the sums themselves, as |x| <= 1.
OperationCase linear_case(const CaseSizes& s, const RandomMatrix& matrix, const std::string& what,
                          int64_t activation_group, int planes, double factor) {
  const auto sums = std::make_shared<const Floats>(absolute_sums(matrix));
  const bool narrow = matrix.rows <= s.width;
  OperationCase made = make_case(
      what, s.seed,
      [factor](double value, double magnitude) {
        return factor * kEps * magnitude + kEps * std::fabs(value);
      },
      [=](Bench& b) {
        LinearInput x(b.rows(s.tokens, s.width));
        const Rows bias = b.table(1, matrix.rows), y = b.rows(s.tokens, matrix.rows);
        const std::vector<Weight> weights = adopt(b.device(), matrix, activation_group, planes);
        b.lane().linear(weights, x, bias, y);
        b.lane().linear(weights, x, {}, y);  // with what it was rounded to
        b.lane().add_scaled(y, 0, y);
        b.lane().linear(weights, x, bias, y);
        give_rounded(b, y);
        // Unit by unit, as matrices of one input are, and summed up.
        int64_t first = 0;
        const Rows z = b.rows(s.tokens, matrix.rows);
        for (const Weight& weight : weights) {
          const int64_t rows = weight.view.rows;
          b.lane().linear({&weight, 1}, x, bias.columns(first, rows), y.columns(first, rows));
          first += rows;
        }
        b.lane().add_scaled(y, 0.5f, z);
        b.give(y);
        b.give(z);
        if (!narrow) return;
        // A sum to what was multiplied.
        const Rows to = x.x.columns(0, matrix.rows);
        b.lane().linear(weights, x, bias, y);
        b.lane().add_scaled(y, 0.25f, to);
        b.give(to);
      });
  const auto run = made.run;
  made.run = [=](Device& device, bool magnitudes) {
    if (!magnitudes) return run(device, false);
    Values all;
    for (int times = 0; times < (narrow ? 4 : 3); ++times) {
      for (int64_t t = 0; t < s.tokens; ++t)
        for (const float sum : *sums) all.push_back(double{sum} + 2);  // and the bias
      if (times == 0) all.push_back(0);
    }
    return all;
  };
  return made;
}

OperationCase embed_case(const CaseSizes& s, const RandomMatrix& matrix, const std::string& what) {
  return make_case(what, s.seed, exact, [=](Bench& b) {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < s.tokens; ++t)
      ids.push_back(static_cast<int32_t>(b.below(matrix.rows)));
    const Rows y = b.rows(s.tokens, s.width);
    b.lane().embed(adopt(b.device(), matrix, 0, 1), ids, 1.5f, y);
    b.give(y);
  });
}

}  // namespace

std::vector<OperationCase> linear_cases(const CaseSizes& s, Layout layout, bool minima,
                                        bool rounded) {
  const bool integers = layout >= Layout::kTilesI8;
  const bool small_groups = integers && tile_cols(layout) == 32;
  std::vector<int64_t> groups = {0};
  if (integers) groups = {32, 64, s.width};
  if (small_groups) groups.push_back(16);
  std::vector<OperationCase> all;
  for (const int64_t group : groups) {
    const RandomMatrix matrix = random_matrix(s, layout, minima, std::min(group, s.width));
    const std::string what =
        sizes_of("linear", s) + ", layout " + std::to_string(static_cast<int>(layout)) +
        (minima ? " with minima" : "") + ", groups of " + std::to_string(group);
    if (!rounded) {
      all.push_back(linear_case(s, matrix, what, 0, 1, static_cast<double>(s.width)));
      all.push_back(embed_case(s, matrix, what + ", embedding"));
      continue;
    }
    // As formats have them: groups of 16 by activations of 32, one for a row by those of 32.
    const int64_t own = group == s.width || group == 16 ? 32 : group;
    const double x_groups =
        static_cast<double>((s.width + std::min<int64_t>(own, group) - 1) / std::min(own, group));
    for (const int planes : {1, 2})
      all.push_back(linear_case(s, matrix,
                                what + ", rounded to " + std::to_string(8 * planes) + " bits", own,
                                planes, 2 * (x_groups + 3)));
  }
  return all;
}

std::vector<OperationCase> rope_cases(const CaseSizes& s) {
  return {make_case(
      sizes_of("rope", s), s.seed, [](double, double) { return 4 * kEps; },
      [=](Bench& b) {
        const int64_t pairs = (s.width + 1) / 2, dim = 2 * pairs + 3;
        const Rows x = b.rows(s.tokens, 3 * dim);
        b.lane().rope(x, 3, {b.table(s.tokens, pairs), b.table(s.tokens, pairs)});
        b.give(x);
      })};
}

std::vector<OperationCase> attention_cases(const CaseSizes& s, KvType type) {
  std::vector<OperationCase> all;
  const int64_t k_dim = s.width, kv_heads = 2, heads = 6;
  const float scale = 1 / std::sqrt(static_cast<float>(k_dim));
  for (const bool window : {false, true}) {
    const int64_t v_dim = window ? 32 : s.width + 3;
    const KvCacheSpec spec{.kv_heads = kv_heads,
                           .k_dim = k_dim,
                           .v_dim = v_dim,
                           .reach = window ? 5 + s.tokens / 2 : std::numeric_limits<int64_t>::max(),
                           .pinned = window ? 3 : 0,
                           .first_block = 0,
                           .last_block = 0};
    const double most = scale * static_cast<double>(k_dim);  // of scores, as |q|, |k| <= 1
    const double keys = 3.0 * static_cast<double>(s.tokens) + 4;
    const double bound = (8.0 * static_cast<double>(k_dim) + keys + 64) * kEps * (1 + most);
    all.push_back(make_case(
        sizes_of("attention", s) + ", cache " + std::to_string(static_cast<int>(type)) +
            (window ? ", window" : ""),
        s.seed, [bound](double, double) { return bound; },
        [=](Bench& b) {
          SequenceState state;
          state.caches.emplace_back(b.device(), spec, type);
          over_calls(b, state, s.tokens, [=](Bench& bench, const Batch& batch, int64_t tokens) {
            const Rows q = bench.rows(tokens, heads * k_dim), y = bench.rows(tokens, heads * v_dim);
            const Rows k = bench.rows(tokens, kv_heads * k_dim);
            const Rows v = bench.rows(tokens, kv_heads * v_dim);
            // Of a part of each head; |q| and |k| stay within 1.
            const RopeTable table{bench.table(tokens, k_dim / 3, -0.5f, 0.5f),
                                  bench.table(tokens, k_dim / 3, -0.5f, 0.5f)};
            if (window) bench.lane().rope(q, heads, table);
            bench.lane().rope(k, kv_heads, table);
            bench.lane().store_kv(0, k, v, batch);
            bench.lane().attend({q, y, 0, spec, heads, scale, false}, batch);
            give_rounded(bench, y);
            bench.give(k);
            bench.give(q);
          });
        }));
  }
  return all;
}

namespace {

// Calls over the tokens of three sequences of one slot: two that keep their states, and one that
// is fresh each time. The first has the most tokens of a call: all at once, some, one.
template <class Call>
void over_sequences(Bench& b, const StateSlot& slot, int64_t tokens, const Call& call) {
  StateLayout layout;
  layout.add(slot, b.device().state_bytes(slot));
  std::array<SequenceState, 3> states;
  for (SequenceState& state : states) state.layout = &layout;
  states[0].slots.own = Memory(b.device(), layout.bytes());
  states[1].slots.own = Memory(b.device(), layout.bytes());
  std::array<int64_t, 3> positions{};
  for (const int64_t most : {tokens, std::max<int64_t>(tokens / 2, 1), int64_t{1}, int64_t{1}}) {
    std::vector<Sequence> sequences;
    int64_t row = 0;
    for (const auto& [which, count] :
         {std::pair<size_t, int64_t>{1, most / 3 + 1}, std::pair<size_t, int64_t>{0, most},
          std::pair<size_t, int64_t>{2, most / 2 + 1}}) {
      const int64_t position = which == 2 ? 0 : positions[which];
      sequences.push_back({.state = &states[which],
                           .row = row,
                           .tokens = count,
                           .position = position,
                           .horizon = position + count});
      row += count;
      positions[which] += count;
    }
    call(b, Batch(sequences), row);
  }
  // One by itself, as when a token is decoded.
  for (const int64_t count : {int64_t{1}, std::min<int64_t>(tokens, 3)}) {
    const Sequence alone{.state = states.data(),
                         .row = 0,
                         .tokens = count,
                         .position = positions[0],
                         .horizon = positions[0] + count};
    positions[0] += count;
    call(b, Batch({&alone, 1}), count);
  }
}

template <class Call>
OperationCase scan_case(const std::string& what, const CaseSizes& s,
                        const std::function<double(double, double)>& bound, const StateSlot& slot,
                        const Call& call) {
  return make_case(what, s.seed, bound, [=](Bench& b) { over_sequences(b, slot, s.tokens, call); });
}

std::vector<OperationCase> short_conv_cases(const CaseSizes& s) {
  const int64_t channels = s.width;
  std::vector<OperationCase> all;
  for (const int64_t taps : {int64_t{1}, int64_t{3}, int64_t{4}})
    all.push_back(scan_case(
        sizes_of("short conv", s) + ", " + std::to_string(taps) + " taps", s,
        [taps](double, double magnitude) {
          return static_cast<double>(taps + 2) * kEps * magnitude + 1e-36;
        },
        {.kind = StateSlot::Kind::kConv1d, .channels = channels, .width = taps},
        [=](Bench& b, const Batch& batch, int64_t tokens) {
          const Rows in = b.rows(tokens, 3 * channels), y = b.rows(tokens, channels);
          b.lane().short_conv({.before = in.columns(0, channels),
                               .after = in.columns(channels, channels),
                               .x = in.columns(2 * channels, channels),
                               .y = y,
                               .weight = b.table(taps, channels),
                               .bias = taps == 3 ? Rows() : b.table(1, channels),
                               .slot = 0},
                              batch);
          give_rounded(b, y);
        }));
  return all;
}

OperationCase delta_rule_case(const CaseSizes& s, int64_t k_dim, bool by_channel, bool tiled) {
  const int64_t heads = 6, key_heads = 3, v_dim = s.width;
  const int64_t keys = key_heads * k_dim, values = heads * v_dim;
  const float beta_scale = tiled ? 2 : 1;
  // The contract's, with its sums at their ends: decays are 1 / 2 at most, |v| <= 1, and beta is at
  // most 0.9 of its scale.
  const double most = 2 * 0.9 * double{beta_scale}, errors = 2 * most;
  const double bound =
      16 * static_cast<double>(k_dim + 72) * kEps * errors / std::sqrt(static_cast<double>(k_dim));
  const std::string what = sizes_of("delta rule", s) + ", " + std::to_string(k_dim) +
                           " channels of keys" + (by_channel ? ", a decay for each" : "") +
                           (tiled ? ", tiled" : "");
  const StateSlot slot{.kind = StateSlot::Kind::kDeltaRule,
                       .channels = values,
                       .heads = heads,
                       .groups = key_heads,
                       .states = k_dim};
  return scan_case(
      what, s, [bound](double, double) { return bound; }, slot,
      [=](Bench& b, const Batch& batch, int64_t tokens) {
        const int64_t decays = heads * (by_channel ? k_dim : 1);
        const Rows qkv = b.rows(tokens, 2 * keys + values), y = b.rows(tokens, values);
        b.lane().delta_rule({.q = qkv.columns(0, keys),
                             .k = qkv.columns(keys, keys),
                             .v = qkv.columns(2 * keys, values),
                             .decay = b.rows(tokens, decays, 0, 0.5f),
                             .beta = b.rows(tokens, heads, -2, 2),
                             .decay_bias = b.table(1, decays, 0, 0.5f),
                             .rate = b.table(1, heads, -2, -1),
                             .beta_scale = beta_scale,
                             .tiled = tiled,
                             .rounded = false,
                             .slot = 0,
                             .y = y},
                            batch);
        b.give(y);
      });
}

OperationCase ssd_case(const CaseSizes& s, int64_t states) {
  const int64_t heads = 4, groups = 2, head_dim = s.width;
  const double factor = 16 * static_cast<double>(states + 80 + s.tokens / 8);
  const StateSlot slot{.kind = StateSlot::Kind::kSsd,
                       .channels = heads * head_dim,
                       .heads = heads,
                       .groups = groups,
                       .states = states};
  return scan_case(
      sizes_of("ssd scan", s) + ", " + std::to_string(states) + " states", s,
      [factor](double, double magnitude) { return factor * kEps * magnitude + 1e-36; }, slot,
      [=](Bench& b, const Batch& batch, int64_t tokens) {
        const Rows y = b.rows(tokens, heads * head_dim), a = b.empty(1, heads);
        Floats rates = b.numbers(heads, 0.2f, 3);
        for (float& rate : rates) rate = -rate;
        b.lane().write(rates.data(), a);
        const std::string where = "a case";
        b.lane().ssd_scan({.dt = b.rows(tokens, heads, 0, 1),
                           .x = b.rows(tokens, heads * head_dim),
                           .b = b.rows(tokens, groups * states),
                           .c = b.rows(tokens, groups * states),
                           .dt_bias = b.table(1, heads, 0, 1),
                           .a = a,
                           .d = b.table(1, heads),
                           .dt_min = 0,
                           .dt_max = 1.2f,
                           .rounded = false,
                           .slot = 0,
                           .where = where,
                           .y = y},
                          batch);
        b.give(y);
      });
}

}  // namespace

std::vector<OperationCase> chunk_cases(const CaseSizes& s, int64_t states) {
  return {ssd_case(s, states), delta_rule_case(s, states, false, states % 2 == 0)};
}

std::vector<OperationCase> scan_cases(const CaseSizes& s) {
  const int64_t channels = s.width;
  std::vector<OperationCase> all = short_conv_cases(s);
  all.push_back(delta_rule_case(s, 5, false, false));
  all.push_back(delta_rule_case(s, 34, false, true));
  all.push_back(delta_rule_case(s, 5, true, true));
  all.push_back(delta_rule_case(s, 34, true, false));
  const auto add = [&](const std::string& what, double factor, const StateSlot& slot,
                       const auto& call) {
    all.push_back(scan_case(
        what, s, [factor](double, double magnitude) { return factor * kEps * magnitude + 1e-36; },
        slot, call));
  };
  for (const int64_t taps : {int64_t{1}, int64_t{4}}) {
    const StateSlot slot{.kind = StateSlot::Kind::kConv1d, .channels = channels, .width = taps};
    // SiLU of a sum of magnitudes is half of it at least.
    add(sizes_of("conv1d", s), 8 * static_cast<double>(taps + 2), slot,
        [=](Bench& b, const Batch& batch, int64_t tokens) {
          const Rows y = b.rows(tokens, channels);
          b.lane().conv1d({b.rows(tokens, channels), y, b.table(taps, channels),
                           taps == 1 ? Rows() : b.table(1, channels), 0},
                          batch);
          give_rounded(b, y, taps == 1 ? 2 : 1);
        });
  }
  for (const int64_t states : {int64_t{5}, int64_t{16}, int64_t{37}}) {
    const StateSlot slot{
        .kind = StateSlot::Kind::kSelectiveScan, .channels = 2 * channels, .states = states};
    std::mt19937 random(s.seed);
    const auto unit =
        std::make_shared<const RandomUnit>(Layout::kRowsF32, false, channels, 3, 0, random);
    // The second of two heads; dt_proj's and softplus's errors are those of its inputs, too.
    add(sizes_of("selective scan", s), 8 * static_cast<double>(states + 16) * 8, slot,
        [=](Bench& b, const Batch& batch, int64_t tokens) {
          const Rows y = b.rows(tokens, channels);
          const RandomMatrix matrix{{unit}, channels};
          Floats rates = b.numbers(states * 2 * channels, 0.2f, 4);
          for (float& rate : rates) rate = -rate;
          const Rows a = b.empty(states, 2 * channels);
          b.lane().write(rates.data(), a);
          b.lane().selective_scan({.dt_proj = adopt(b.device(), matrix, 0, 1),
                                   .x = b.rows(tokens, channels),
                                   .z = b.rows(tokens, channels, -3, 3),
                                   .dt = b.rows(tokens, 3, 0, 0.1f),
                                   .b = b.rows(tokens, states),
                                   .c = b.rows(tokens, states),
                                   .a = a.columns(channels, channels),
                                   .d = b.table(1, channels),
                                   .dt_bias = b.table(1, channels, 0, 0.5f),
                                   .slot = 0,
                                   .first = channels,
                                   .y = y},
                                  batch);
          give_rounded(b, y);
        });
  }
  for (const int64_t states : {int64_t{7}, int64_t{32}}) all.push_back(ssd_case(s, states));
  return all;
}

}  // namespace klens
