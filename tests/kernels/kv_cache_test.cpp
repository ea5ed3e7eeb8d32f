#include "kernels/cpu/attention/kv_cache.h"

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

using namespace klens::testing;

constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kI8};

// Numbers of all sizes; not finite ones only where the type has a meaning for them.
float number(Rng& rng, KvType type) {
  const int kind = uniform_int(rng, 0, 30);
  const float sign = kind % 2 == 0 ? 1.0f : -1.0f;
  if (kind == 0 && type != KvType::kI8) return NAN;
  if (kind == 1 && type != KvType::kI8) return -std::bit_cast<float>(0x7f812345u);
  if (kind == 2 && type != KvType::kI8) return -INFINITY;
  if (kind <= 4) return sign * uniform(rng, 65000, 66000);
  if (kind <= 6) return sign * std::exp(uniform(rng, -20, -8));  // subnormal halves
  if (kind == 7) return sign * 0.0f;
  return uniform(rng, -4, 4);
}

void run_case(const Variant<StoreKv>& v, KvType type, int64_t rows, int64_t heads, int64_t dim,
              Rng& rng) {
  INFO("type " << int(type) << " rows " << rows << " heads " << heads << " dim " << dim);
  const int64_t stride = heads * dim + 3, count = rows * heads * dim;
  const Buffer<float> x(strided(rows, heads * dim, stride), 1);
  for (int64_t i = 0; i < x.size(); ++i) x[i] = number(rng, type);
  if (type == KvType::kI8 && rows > 1)  // a head below the floor
    for (int64_t i = 0; i < dim; ++i) x[stride + i] = 1e-38f;
  Buffer<uint8_t> want(count * kv_element_bytes(type), kv_element_bytes(type));
  Buffer<uint8_t> got(count * kv_element_bytes(type), kv_element_bytes(type));
  Buffer<float> want_scale(rows * heads, 1), got_scale(rows * heads, 1);
  got_scale.fill(kPoison);
  want_scale.fill(kPoison);
  got.fill(0xa5);
  specification(store_kv_variants())
      .run({x.data(), stride, type, want.data(), want_scale.data(), rows, heads, dim});
  v.run({x.data(), stride, type, got.data(), got_scale.data(), rows, heads, dim});
  CHECK(got.same_bits(want));
  CHECK(got_scale.same_bits(want_scale));
}

TEST_CASE("store_kv: rows agree bit for bit", "[kv_cache]") {
  for_each_variant(store_kv_variants(), [](const Variant<StoreKv>& v) {
    Rng rng(1);
    for (const KvType type : kTypes)
      for (const int64_t dim : {1, 5, 7, 8, 9, 16, 24, 64, 80, 127, 128})
        for (const int64_t heads : {1, 2, 5})
          for (const int64_t rows : {0, 1, 3}) run_case(v, type, rows, heads, dim, rng);
  });
}

TEST_CASE("store_kv: what the types mean", "[kv_cache]") {
  for_each_variant(store_kv_variants(), [](const Variant<StoreKv>& v) {
    float x[] = {1, -2, 0, 1e6f, -INFINITY, 65519, 0x1p-24f, NAN, 0.1f};
    uint16_t half[9];
    v.run({x, 9, KvType::kF16, half, nullptr, 1, 1, 9});
    for (const int i : {0, 1, 2, 6}) CHECK(f16_to_f32(half[i]) == x[i]);
    CHECK(f16_to_f32(half[3]) == 65504);
    CHECK(f16_to_f32(half[4]) == -65504);
    CHECK(f16_to_f32(half[5]) == 65504);
    CHECK(std::isnan(f16_to_f32(half[7])));
    CHECK(f16_to_f32(half[8]) == Approx(0.1f).epsilon(1e-3));
    float y[] = {254, -254, 1, 3, 5, 0, -1, -3, 100};  // halves round to even
    int8_t q[9];
    float scale = 0;
    v.run({y, 9, KvType::kI8, q, &scale, 1, 1, 9});
    const int want[] = {127, -127, 0, 2, 2, 0, 0, -2, 50};
    CHECK(scale == 2);
    for (int i = 0; i < 9; ++i) CHECK(int(q[i]) == want[i]);
  });
}

}  // namespace
}  // namespace klens::cpu
