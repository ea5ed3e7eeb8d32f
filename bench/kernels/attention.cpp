#include "kernels/cpu/attention/attention.h"

#include "bench/kernels/bench.h"
#include "kernels/cpu/rope/rope.h"

namespace klens::cpu {
namespace {

const char* kv_name(KvType type) {
  return type == KvType::kF32 ? "f32" : type == KvType::kF16 ? "f16" : "i8";
}

struct AttentionShape {
  int64_t position, tokens, heads, kv_heads, dim;
};

// Prefill from nothing and after 1024 tokens; decoding: a grouped cache, one head each, heads of
// 64, 80 and 128.
constexpr AttentionShape kShapes[] = {
    {0, 512, 32, 8, 64},   {1024, 512, 32, 8, 64}, {0, 512, 32, 32, 80}, {1023, 1, 32, 8, 64},
    {8191, 1, 32, 8, 64},  {1023, 8, 32, 8, 64},   {1023, 1, 25, 5, 64}, {8191, 1, 16, 16, 64},
    {1023, 1, 32, 32, 80}, {1023, 1, 32, 32, 128}};

// GB/s of keys and values.
void add_core(KvType type, const AttentionShape& s, bool rounded) {
  const int64_t keys = s.position + s.tokens, count = keys * s.kv_heads * s.dim;
  const int64_t bytes = count * kv_element_bytes(type), cols = s.heads * s.dim;
  const double pairs = static_cast<double>(s.tokens) *
                       (static_cast<double>(s.position) + static_cast<double>(s.tokens + 1) / 2);
  const double operations = 4 * pairs * static_cast<double>(cols);
  add(
      "attention", attention_variants(),
      std::string(kv_name(type)) + "/" + std::to_string(s.heads) + "of" +
          std::to_string(s.kv_heads) + "x" + std::to_string(s.dim) + "/p" +
          std::to_string(s.position) + "/t" + std::to_string(s.tokens) +
          (rounded ? "/rounded" : ""),
      [=](State& state, Attention* run) {
        const Block<uint8_t> k(bytes, 44, 44.5f), v(bytes, 44, 44.5f);
        const Block<float> scale(keys * s.kv_heads), q(s.tokens * cols), y(s.tokens * cols);
        const KvSegment segment{k.data(), v.data(), scale.data(), scale.data(), keys, 0};
        AttentionArgs a{};
        a.q = q.data();
        a.q_stride = a.y_stride = cols;
        a.type = type;
        a.segments = &segment;
        a.segment_count = 1;
        a.scale = 0.125f;
        a.reach = INT64_MAX;
        a.position = s.position;
        a.tokens = s.tokens;
        a.heads = s.heads;
        a.kv_heads = a.kv_head_end = s.kv_heads;
        a.k_dim = a.v_dim = s.dim;
        a.y = y.data();
        a.rounded = rounded;
        const Block<float> work(attention_work(a));
        a.work = work.data();
        for (auto _ : state) run(a);
        report(state, operations, 2.0 * static_cast<double>(bytes));
      },
      operations);
}

void add_store(KvType type, int64_t heads, int64_t dim, int64_t tokens) {
  const int64_t count = tokens * heads * dim;
  add("store_kv", store_kv_variants(),
      std::string(kv_name(type)) + "/" + std::to_string(heads) + "x" + std::to_string(dim) + "/t" +
          std::to_string(tokens),
      [=](State& state, StoreKv* run) {
        const Block<float> x(count), scale(tokens * heads), to(count);
        for (auto _ : state)
          run({x.data(), heads * dim, type, to.data(), scale.data(), tokens, heads, dim});
        report(state, 0,
               static_cast<double>(count) * static_cast<double>(4 + kv_element_bytes(type)));
      });
}

void add_rope(int64_t heads, int64_t dim, int64_t tokens) {
  const int64_t cols = heads * dim;
  add("rope", rope_variants(),
      std::to_string(heads) + "x" + std::to_string(dim) + "/t" + std::to_string(tokens),
      [=](State& state, Rope* run) {
        const Block<float> x(tokens * cols), angle(dim / 2 * tokens);  // below one: stays so
        for (auto _ : state)
          run({x.data(), cols, angle.data(), angle.data(), tokens, heads, dim, dim / 2});
        report(state, 0, 8.0 * static_cast<double>(tokens * cols));
      });
}

}  // namespace

void add_attention() {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kI8}) {
    for (const AttentionShape& s : kShapes)
      for (const bool rounded : {false, true})
        if (!rounded || (s.tokens > 1 && type == KvType::kF16)) add_core(type, s, rounded);
    for (const int64_t tokens : {1, 512}) {
      add_store(type, 8, 64, tokens);
      add_store(type, 32, 80, tokens);
    }
  }
  for (const int64_t tokens : {1, 8, 512}) {
    add_rope(32, 64, tokens);
    add_rope(32, 80, tokens);
  }
}

}  // namespace klens::cpu
