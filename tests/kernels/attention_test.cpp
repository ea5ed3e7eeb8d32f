#include "kernels/cpu/attention/attention.h"

#include <limits>
#include <memory>

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kI8};
constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

struct Shape {
  int64_t position, tokens, heads, kv_heads, k_dim, v_dim;
  int64_t reach = kAll, pinned = 0;
};

bool sees(const Shape& s, int64_t position, int64_t key) {
  return key <= position && (position - key <= s.reach || key < s.pinned);
}

bool seen_by_any(const Shape& s, int64_t key) {
  for (int64_t t = 0; t < s.tokens; ++t)
    if (sees(s, s.position + t, key)) return true;
  return false;
}

// A cache in segments of the given lengths (over and over). Rows that no query sees are left out,
// or hold ones in every bit.
class Cache {
 public:
  Cache(const Shape& s, KvType type, const Buffer<float>& k, const Buffer<float>& v,
        std::vector<int64_t> lengths, bool leave_out)
      : type_(type) {
    const int64_t end = s.position + s.tokens;
    for (int64_t key = 0, i = 0; key < end; ++i) {
      int64_t rows = std::min(end - key, lengths[static_cast<size_t>(i) % lengths.size()]);
      if (leave_out) {
        while (!seen_by_any(s, key)) ++key;
        int64_t last = key;
        while (last < std::min(end, key + rows) && seen_by_any(s, last)) ++last;
        rows = last - key;
      }
      KvSegment segment = {};
      segment.k = add(s, k, s.k_dim, key, rows, &segment.k_scale);
      segment.v = add(s, v, s.v_dim, key, rows, &segment.v_scale);
      segment.rows = rows;
      segment.position = key;
      segments.push_back(segment);
      key += rows;
    }
  }

  std::vector<KvSegment> segments;

 private:
  const void* add(const Shape& s, const Buffer<float>& x, int64_t dim, int64_t key, int64_t rows,
                  const float** scale) {
    const int64_t size = s.kv_heads * dim, row_bytes = size * kv_element_bytes(type_);
    data_.push_back(std::make_unique<Buffer<uint8_t>>(rows * row_bytes, kv_element_bytes(type_)));
    const uint8_t* data = data_.back()->data();
    scale_.push_back(std::make_unique<Buffer<float>>(type_ == KvType::kI8 ? rows * s.kv_heads : 0));
    float* scales = scale_.back()->data();
    *scale = type_ == KvType::kI8 ? scales : nullptr;
    specification(store_kv_variants())
        .run({x.data() + key * size, size, type_, data_.back()->data(), scales, rows, s.kv_heads,
              dim});
    for (int64_t r = 0; r < rows; ++r) {
      if (seen_by_any(s, key + r)) continue;
      std::memset(data_.back()->data() + r * row_bytes, 0xff, static_cast<size_t>(row_bytes));
      if (type_ == KvType::kI8)
        for (int64_t h = 0; h < s.kv_heads; ++h) scales[r * s.kv_heads + h] = NAN;
    }
    return data;
  }

  KvType type_;
  std::vector<std::unique_ptr<Buffer<uint8_t>>> data_;
  std::vector<std::unique_ptr<Buffer<float>>> scale_;
};

struct Case {
  Shape s;
  KvType type;
  int64_t q_stride, y_stride;
  float scale;
  bool rounded = false;
  Buffer<float> q, k, v, untouched;

  Case(const Shape& shape, KvType t, Rng& rng)
      : s(shape),
        type(t),
        q_stride(s.heads * s.k_dim + 3),
        y_stride(s.heads * s.v_dim + 5),
        scale(1 / std::sqrt(static_cast<float>(s.k_dim))),
        q(strided(s.tokens, s.heads * s.k_dim, q_stride), 1),
        k((s.position + s.tokens) * s.kv_heads * s.k_dim),
        v((s.position + s.tokens) * s.kv_heads * s.v_dim),
        untouched(strided(s.tokens, s.heads * s.v_dim, y_stride), 2) {
    fill_uniform(q, rng, -3, 3);
    fill_uniform(k, rng, -3, 3);
    fill_uniform(v, rng, -2, 2);
    untouched.fill(kPoison);
  }

  AttentionArgs args(const Cache& cache, const Buffer<float>& y) const {
    AttentionArgs a{q.data(),
                    q_stride,
                    type,
                    cache.segments.data(),
                    static_cast<int64_t>(cache.segments.size()),
                    scale,
                    s.reach,
                    s.pinned,
                    s.position,
                    s.tokens,
                    s.heads,
                    s.kv_heads,
                    s.k_dim,
                    s.v_dim,
                    y.data(),
                    y_stride,
                    0,
                    s.kv_heads,
                    nullptr};
    a.rounded = rounded;
    return a;
  }
};

void run(const Variant<Attention>& v, AttentionArgs a) {
  Buffer<float> work(attention_work(a), 1);
  work.fill(kPoison);
  a.work = work.data();
  v.run(a);
}

// The greatest sum over i of |scale q[i] k[i]|.
double greatest_score(const Case& k) {
  double greatest = 0;
  for (int64_t t = 0; t < k.s.tokens; ++t)
    for (int64_t h = 0; h < k.s.heads; ++h)
      for (int64_t key = 0; key < k.s.position + k.s.tokens; ++key) {
        const int64_t kv_head = h / (k.s.heads / k.s.kv_heads);
        double sum = 0;
        for (int64_t i = 0; i < k.s.k_dim; ++i)
          sum += std::fabs(double{k.q[t * k.q_stride + h * k.s.k_dim + i]} *
                           k.k[(key * k.s.kv_heads + kv_head) * k.s.k_dim + i]);
        greatest = std::max(greatest, sum * k.scale);
      }
  return greatest;
}

// greatest: greatest_score(k).
void check_bound(const Case& k, double greatest, const Buffer<float>& got,
                 const Buffer<float>& want) {
  // A quarter of the promise, which is generous: a wrong digit should show. Of what rounding may
  // cost an eighth, for roundings hardly ever agree.
  const int64_t keys = k.s.position + k.s.tokens;
  const double exact = static_cast<double>(8 * k.s.k_dim + keys + 64) * kEps / 4;
  const double bound = (exact + (k.rounded ? 0x1p-9 : 0)) * (1 + greatest) * 2;
  Mismatches bad;
  for (int64_t i = 0; i < got.size(); ++i) {
    if (i % k.y_stride >= k.s.heads * k.s.v_dim) {
      bad.check(poisoned(got[i]), "wrote between rows");
    } else {
      bad.near(got[i], want[i], bound, at(i / k.y_stride, i % k.y_stride));
    }
  }
}

AttentionArgs some(AttentionArgs a, int64_t t, int64_t tokens) {
  a.q += t * a.q_stride;
  a.y += t * a.y_stride;
  a.position += t;
  a.tokens = tokens;
  return a;
}

// One query over 128 keys at a time, joined as AttentionPart says.
void join_parts(const Variant<Attention>& v, AttentionArgs a, const Shape& s) {
  float* const y = a.y;
  const auto heads = static_cast<size_t>(s.heads), dim = static_cast<size_t>(s.v_dim);
  std::vector<AttentionPart> parts;
  std::vector<std::vector<float>> results;
  for (int64_t begin = 0; begin <= a.position; begin += 128) {
    Buffer<float> result(s.heads * s.v_dim);
    std::vector<AttentionPart> part(heads);
    a.y = result.data();
    a.part = part.data();
    a.key_begin = begin;
    a.key_end = begin + 128;
    run(v, a);
    parts.insert(parts.end(), part.begin(), part.end());
    results.emplace_back(result.data(), result.data() + result.size());
  }
  for (size_t h = 0; h < heads; ++h) {
    float max = -INFINITY;
    double total = 0;
    for (size_t p = 0; p < results.size(); ++p) max = std::max(max, parts[p * heads + h].max);
    std::vector<double> sum(dim);
    for (size_t p = 0; p < results.size(); ++p) {
      const AttentionPart& part = parts[p * heads + h];
      const double weight = part.total * std::exp(double{part.max} - max);
      total += weight;
      for (size_t i = 0; i < dim; ++i) sum[i] += weight * results[p][h * dim + i];
    }
    for (size_t i = 0; i < dim; ++i) y[h * dim + i] = static_cast<float>(sum[i] / total);
  }
}

void run_case(const Variant<Attention>& v, const Shape& s, KvType type, Rng& rng,
              bool rounded = false) {
  INFO("position " << s.position << " tokens " << s.tokens << " heads " << s.heads << "/"
                   << s.kv_heads << " dims " << s.k_dim << " " << s.v_dim << " reach " << s.reach
                   << " pinned " << s.pinned << " type " << int(type));
  Case k(s, type, rng);
  k.rounded = rounded;
  const Cache whole(s, type, k.k, k.v, {s.position + s.tokens}, false);
  Buffer<float> want = k.untouched, got = k.untouched;
  specification(attention_variants()).run(k.args(whole, want));
  run(v, k.args(whole, got));
  const double greatest = greatest_score(k);
  check_bound(k, greatest, got, want);

  // Other segments; a few queries and KV heads at a time: the same bits.
  const Cache pieces(s, type, k.k, k.v, {1, 64, 13, 100, 7}, true);
  Buffer<float> cut = k.untouched;
  run(v, k.args(pieces, cut));
  CHECK(cut.same_bits(got));
  Buffer<float> few = k.untouched;
  for (int64_t t = 0, size = 2; t < s.tokens; t += size, size = size % 7 + 2) {
    if (s.tokens - t - size <= 1) size = s.tokens - t;  // none alone
    for (int64_t h = 0; h < s.kv_heads; h += 2) {
      AttentionArgs a = some(k.args(t % 2 == 0 ? whole : pieces, few), t, size);
      a.kv_head_begin = h;
      a.kv_head_end = std::min(s.kv_heads, h + 2);
      run(v, a);
    }
  }
  CHECK(few.same_bits(got));

  // A query by itself, and over parts of the keys: the same within the bound. Other segments and
  // heads still give the same bits. Of many queries some: the first, and others at every distance
  // from a multiple of 64.
  Buffer<float> alone = got, by_head = got, joined = got;
  for (int64_t t = 0; t < s.tokens; t += t < 4 ? 1 : 7) {
    for (const Buffer<float>* y : {&alone, &by_head, &joined})
      std::fill_n(y->data() + t * k.y_stride, s.heads * s.v_dim, kPoison);
    run(v, some(k.args(whole, alone), t, 1));
    for (int64_t h = 0; h < s.kv_heads; ++h) {
      AttentionArgs a = some(k.args(pieces, by_head), t, 1);
      a.kv_head_begin = h;
      a.kv_head_end = h + 1;
      run(v, a);
    }
    join_parts(v, some(k.args(pieces, joined), t, 1), s);
  }
  CHECK(by_head.same_bits(alone));
  check_bound(k, greatest, alone, want);
  check_bound(k, greatest, joined, want);
}

TEST_CASE("attention: rows agree with the specification", "[attention]") {
  for_each_variant(attention_variants(), [](const Variant<Attention>& v) {
    Rng rng(1);
    for (const KvType type : kTypes) {
      for (const int64_t tokens : {0, 1, 2, 15, 64, 65, 200})
        run_case(v, {0, tokens, 4, 2, 16, 24}, type, rng);
      for (const int64_t position : {1, 62, 63, 64, 130})
        for (const int64_t tokens : {1, 3, 70})
          run_case(v, {position, tokens, 3, 3, 24, 16}, type, rng);
      run_case(v, {100, 1, 25, 5, 64, 64}, type, rng);
      run_case(v, {100, 40, 25, 5, 64, 64}, type, rng);
      run_case(v, {10, 40, 25, 1, 80, 128}, type, rng);
      run_case(v, {10, 40, 24, 2, 128, 80}, type, rng);
      run_case(v, {70, 3, 100, 1, 8, 8}, type, rng);  // one token fills more than a tile
    }
  });
}

TEST_CASE("attention: groups and dimensions of all sizes", "[attention]") {
  for_each_variant(attention_variants(), [](const Variant<Attention>& v) {
    Rng rng(2);
    for (const KvType type : kTypes) {
      for (const int64_t group : {1, 2, 3, 4, 5, 6, 7, 8, 13})
        run_case(v, {77, 2, 2 * group, 2, 16, 40}, type, rng);
      for (const int64_t dim : {1, 2, 5, 7, 8, 9, 15, 17, 33, 65})
        run_case(v, {67, 5, 4, 2, dim, 66 - dim}, type, rng);
    }
  });
}

TEST_CASE("attention: windows and pinned keys", "[attention]") {
  for_each_variant(attention_variants(), [](const Variant<Attention>& v) {
    Rng rng(3);
    // Each of the shapes sees a third of the windows with each type, and every two of these meet.
    size_t turn = 0;
    const auto next = [&] { return kTypes[turn++ % 3]; };
    for (const int64_t reach : {0, 1, 5, 63, 64, 100}) {
      for (const int64_t pinned : {0, 1, 4, 64, 70}) {
        run_case(v, {0, 90, 4, 2, 16, 24, reach, pinned}, next(), rng);
        run_case(v, {300, 1, 4, 2, 16, 24, reach, pinned}, next(), rng);
        run_case(v, {250, 70, 2, 2, 7, 8, reach, pinned}, next(), rng);
        ++turn;
      }
    }
  });
}

TEST_CASE("attention: rows that round stay within what rounding costs", "[attention]") {
  for_each_variant(attention_variants(), [](const Variant<Attention>& v) {
    Rng rng(6);
    for (const KvType type : kTypes) {
      for (const int64_t tokens : {1, 2, 64, 65, 200})
        run_case(v, {0, tokens, 4, 2, 16, 24}, type, rng, true);
      for (const int64_t position : {1, 62, 63, 64, 130})
        run_case(v, {position, 3, 3, 3, 24, 16}, type, rng, true);
      for (const int64_t dim : {1, 2, 5, 15, 16, 17, 31, 32, 33, 47, 65})
        run_case(v, {67, 5, 4, 2, dim, 66 - dim}, type, rng, true);
      for (const int64_t group : {1, 6, 25})
        run_case(v, {20, 40, 2 * group, 2, 80, 64}, type, rng, true);
      run_case(v, {70, 3, 300, 1, 8, 8}, type, rng, true);  // one token fills more than a tile
    }
    size_t turn = 0;  // as above
    for (const int64_t reach : {0, 5, 64}) {
      for (const int64_t pinned : {0, 4, 70})
        run_case(v, {101, 90, 4, 2, 16, 24, reach, pinned}, kTypes[turn++ % 3], rng, true);
      ++turn;
    }
  });
}

// A score far above the others, early or late: the sums so far fade, or hardly.
TEST_CASE("attention: large scores are safe", "[attention]") {
  for_each_variant(attention_variants(), [](const Variant<Attention>& v) {
    Rng rng(4);
    for (const int64_t peak : {3, 100, 199}) {
      const Shape s = {180, 20, 2, 1, 16, 16};
      const Case k(s, KvType::kF32, rng);
      for (int64_t i = 0; i < 16; ++i) k.k[peak * 16 + i] = k.q[19 * k.q_stride + i] * 100;
      const Cache cache(s, k.type, k.k, k.v, {200}, false);
      Buffer<float> want = k.untouched, got = k.untouched;
      specification(attention_variants()).run(k.args(cache, want));
      run(v, k.args(cache, got));
      check_bound(k, greatest_score(k), got, want);
      for (int64_t i = 0; i < 16; ++i)
        CHECK(got[19 * k.y_stride + i] == Approx(k.v[peak * 16 + i]).margin(1e-5));
    }
  });
}

TEST_CASE("attention: other heads are left alone", "[attention]") {
  for_each_variant(attention_variants(), [](const Variant<Attention>& v) {
    Rng rng(5);
    const Shape s = {30, 4, 10, 5, 8, 6};
    const Case k(s, KvType::kF16, rng);
    const Cache cache(s, k.type, k.k, k.v, {34}, false);
    Buffer<float> y = k.untouched;
    AttentionArgs a = k.args(cache, y);
    a.kv_head_begin = 1;
    a.kv_head_end = 3;
    run(v, a);
    Mismatches bad;
    for (int64_t i = 0; i < y.size(); ++i) {
      const int64_t head = i % k.y_stride / 6;
      bad.check(poisoned(y[i]) != (head >= 2 && head < 6), "y");
    }
  });
}

}  // namespace
}  // namespace klens::cpu
