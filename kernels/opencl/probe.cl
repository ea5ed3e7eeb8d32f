// What a device gives at best: klens bench.

// Reads `words` vectors with all work-items; their sum, so that none is left out.
__kernel void read_all(IN(x), int words, OUT(y)) {
  uint4 sum = 0;
  for (int i = get_global_id(0); i < words; i += get_global_size(0)) sum += READ(uint4, x)[i];
  WRITE(uint, y)[get_global_id(0)] = sum.x + sum.y + sum.z + sum.w;
}

// 64 products of four bytes a turn and work-item.
__kernel void multiply(int turns, int seed, OUT(y)) {
  const uint item = get_global_id(0) + seed;
  int sums[8];
  for (int i = 0; i < 8; ++i) sums[i] = 0;
  uint a = item * 0x01030507u;
  const uint b = item * 0x0b0d1113u;
  for (int turn = 0; turn < turns; ++turn) {
    for (int first = 0; first < 64; first += 8)
      for (int i = 0; i < 8; ++i) {
#ifdef DOT_BUILT_IN
        sums[i] += dot_4x8packed_ss_int(a, b + first + i);
#else
        const int4 products = convert_int4(as_char4(a)) * convert_int4(as_char4(b + first + i));
        sums[i] += products.x + products.y + products.z + products.w;
#endif
      }
    a += sums[0];
  }
  int sum = 0;
  for (int i = 0; i < 8; ++i) sum += sums[i];
  WRITE(int, y)[get_global_id(0)] = sum;
}
