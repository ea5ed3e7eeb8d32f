#include "kernels/cpu/probe/probe.h"

#include "tests/kernels/testing.h"

using namespace klens;
using namespace klens::cpu;
using namespace klens::testing;

TEST_CASE("read_probe adds up every word once") {
  Rng rng(1);
  for (const int64_t blocks : {0, 1, 2, 3, 7, 65}) {
    const Buffer<uint64_t> data(blocks * kReadProbeBytes / 8);
    uint64_t want = 0;
    for (int64_t i = 0; i < data.size(); ++i) {
      data[i] = uint64_t{rng()} << 32 | rng();
      want += data[i];
    }
    for_each_variant(read_probe_variants(), [&](const Variant<ReadProbe>& v) {
      CHECK(v.run(data.data(), static_cast<int64_t>(data.bytes())) == want);
    });
  }
}

TEST_CASE("integer_probe does what it is asked, and no more than a round on top") {
  for_each_variant(integer_probe_variants(), [&](const Variant<IntegerProbe>& v) {
    CHECK(v.run(0) == 0);
    for (const int64_t asked : {int64_t{1}, kIntegerProbeRound, 3 * kIntegerProbeRound + 1}) {
      const int64_t done = v.run(asked);
      CHECK(done >= asked);
      CHECK(done < asked + kIntegerProbeRound);
    }
  });
}
