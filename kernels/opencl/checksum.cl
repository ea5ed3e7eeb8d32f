// A sum over all words of some memory, by which the host sees whether the device has what it was
// given. The same is done there: engine/opencl/checksum, which says what it tells.

#define GROUP 64
#define REGION 16384  // words that a work-group reads together: they stay in a cache

// Each word times an odd number of its place. Of four words that begin at any byte.
inline ulong weighted(__global const uchar* bytes, long at, uint place, bool aligned) {
  const uint4 w = aligned ? vload4(0, (__global const uint*)bytes + at)
                          : as_uint4(vload16(0, bytes + 4 * at));
  const uint by = 2 * place + 1;
  return (ulong)w.s0 * by + (ulong)w.s1 * (by + 2) + (ulong)w.s2 * (by + 4) +
         (ulong)w.s3 * (by + 6);
}

// The bytes [at, end) of one word, those that it lacks zeros.
inline uint word_of(__global const uchar* bytes, long at, long end) {
  uint word = 0;
  for (long b = at; b < min(at + 4, end); ++b) word |= (uint)bytes[b] << 8 * (uint)(b - at);
  return word;
}

// sums[group] of the `words` whole words of x, the first of which is word `segment` << 28 of all,
// and of the `rest` bytes behind them.
__attribute__((reqd_work_group_size(GROUP, 1, 1)))
__kernel void checksum(IN(x), int words, int rest, int segment, OUT(sums)) {
  __local ulong work[GROUP];
  const int item = get_local_id(0);
  __global const uchar* bytes = READ(uchar, x);
  const bool aligned = x_at % 4 == 0;
  const uint first = (uint)segment << 28;
  const long all = (long)words * 4 + rest;
  ulong sum = 0;
  for (long region = (long)get_group_id(0) * REGION; region * 4 < all;
       region += (long)get_num_groups(0) * REGION) {
    const long end = min(region + REGION, (all + 3) / 4);
    for (long i = region + 4 * item; i < end; i += 4 * GROUP) {
      if (i + 4 <= words) {
        sum += weighted(bytes, i, first + (uint)i, aligned);
        continue;
      }
      for (long j = i; j < min(i + 4, end); ++j)
        sum += (ulong)word_of(bytes, 4 * j, all) * (2 * (first + (uint)j) + 1);
    }
  }
  work[item] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_size = GROUP / 2; half_size > 0; half_size /= 2) {
    if (item < half_size) work[item] += work[item + half_size];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (item == 0) WRITE(ulong, sums)[get_group_id(0)] = work[0];
}
