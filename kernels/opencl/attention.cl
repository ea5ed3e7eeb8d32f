// Attention between its projections. KV: how keys and values are kept, a KvType by its number.
// Contracts: kernels/cpu/rope, kernels/cpu/attention.

#if !defined KV
// Item (i, h, t): a pair of a head of a row.
__kernel void rope(ROWS_OUT(x), IN(cosines), IN(sines), int heads, int dim, int pairs) {
  const int i = get_global_id(0), h = get_global_id(1), t = get_global_id(2);
  if (i >= pairs) return;
  __global float* at = ROW_OUT(x, t) + h * dim + i;
  const float c = READ(float, cosines)[(long)t * pairs + i];
  const float s = READ(float, sines)[(long)t * pairs + i];
  const float low = at[0], high = at[pairs];
  at[0] = fma(low, c, -(high * s));
  at[pairs] = fma(high, c, low * s);
}
#else

#if KV == 0
#define KV_AT(data, at, scale) (((__global const float*)(data))[at])
#elif KV == 1
#define KV_AT(data, at, scale) vload_half(at, (__global const half*)(data))
#else
#define KV_AT(data, at, scale) ((float)((__global const char*)(data))[at] * (scale))
#endif

// A head as the kernel rope has it, by a work-group.
#define ITEMS 64
inline void rotate_head(__global float* head, __global const float* cosines,
                   __global const float* sines, int pairs, int item) {
  for (int i = item; i < pairs; i += ITEMS) {
    const float c = cosines[i], s = sines[i], low = head[i], high = head[pairs + i];
    head[i] = fma(low, c, -(high * s));
    head[pairs + i] = fma(high, c, low * s);
  }
}

// A head of keys or values, of which `most` is the greatest, to row `row` of a cache's heads.
inline void store_head(__global const float* head, int dim, float most, long row, OUT(to),
                       OUT(scale), OUT(beyond), int item) {
#if KV == 2
  const bool none = most < 0x1p-120f;
  const float factor = none ? 0.0f : divide(127.0f, most);
  for (int i = item; i < dim; i += ITEMS)
    WRITE(char, to)[row * dim + i] = (char)clamp(rint(head[i] * factor), -127.0f, 127.0f);
  if (item == 0) WRITE(float, scale)[row] = none ? 0.0f : divide(most, 127.0f);
#else
  for (int i = item; i < dim; i += ITEMS) {
    const float v = head[i];
#if KV == 0
    WRITE(float, to)[row * dim + i] = v;
#else
    // What comes after, until the host has seen it, is to be of about the right size.
    const bool fits = fabs(v) <= 65519.0f;
    if (!fits) WRITE(int, beyond)[0] = 1;
    vstore_half_rte(fits ? v : copysign(65504.0f, v), row * dim + i, WRITE(half, to));
#endif
  }
#endif
}

// Rows of keys and of values into a cache: [rows][kv_heads][dim]; and before that the rotations of
// queries, of which there may be none, and of keys, in place, where there are pairs. A work-group of
// ITEMS takes a head: group (head, t), the queries' first, then keys', then values'. where[0]: the
// cache's row of the first. `beyond` becomes 1 where FP16 has no room.
__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
__kernel void store_kv(ROWS_OUT(q), int heads, ROWS_OUT(k), ROWS_IN(v), int kv_heads, IN(cosines),
                       IN(sines), int pairs, int k_dim, int v_dim, OUT(k_to), OUT(k_scale),
                       OUT(v_to), OUT(v_scale), IN(where), OUT(beyond)) {
  __local float most_of[ITEMS];
  const int item = get_local_id(0), h = get_group_id(0), t = get_group_id(1);
  const int key = h - heads, value = key - kv_heads;
  __global const float* cos_at = READ(float, cosines) + (long)t * pairs;
  __global const float* sin_at = READ(float, sines) + (long)t * pairs;
  if (key < 0)
    rotate_head(ROW_OUT(q, t) + h * k_dim, cos_at, sin_at, pairs, item);
  else if (value < 0)
    rotate_head(ROW_OUT(k, t) + key * k_dim, cos_at, sin_at, pairs, item);
  // Barriers are everybody's, whatever a work-group does.
  barrier(CLK_GLOBAL_MEM_FENCE);
  __global const float* head = value < 0 ? ROW_OUT(k, t) + key * k_dim : ROW_IN(v, t) + value * v_dim;
  float most = 0;
#if KV == 2
  const int dim = key < 0 ? 0 : value < 0 ? k_dim : v_dim;
  for (int i = item; i < dim; i += ITEMS) most = fmax(most, fabs(head[i]));
  most_of[item] = most;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = 0; i < ITEMS; ++i) most = fmax(most, most_of[i]);
#endif
  if (key < 0) return;
  const long row = (long)(READ(int, where)[0] + t) * kv_heads;
  if (value < 0)
    store_head(head, k_dim, most, row + key, k_to_buffer, k_to_at, k_scale_buffer,
               k_scale_at, beyond_buffer, beyond_at, item);
  else
    store_head(head, v_dim, most, row + value, v_to_buffer, v_to_at, v_scale_buffer,
               v_scale_at, beyond_buffer, beyond_at, item);
}

#if KV == 1
// A cache's rows of `width` values, in FP32.
__kernel void widen(IN(x), OUT(y), int width) {
  const int c = get_global_id(0), row = get_global_id(1);
  if (c >= width) return;
  const long at = (long)row * width + c;
  WRITE(float, y)[at] = vload_half(at, READ(half, x));
}
#endif

// A work-group of ITEMS takes a query of a head, and PART keys: group (head, query, part). It sees
// them in blocks of ITEMS that begin at multiples of ITEMS in the sequence, so that a query's result
// does not depend on what others its call holds, nor on where in memory keys lie. Where there are
// several parts, what was seen of each is left in `parts`, [queries][heads][parts][2 + v_dim]: the
// greatest score, and sums of e^(score - it) and of values times that. work: k_dim + v_dim floats.
// where: three runs of rows that follow each other in memory and in position, of no rows where there
// are fewer: the first row, how many, and the position of the first; then that of the call's first
// token. Query t is `from` + t tokens behind it.
#define PART 512

__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
__kernel void attend(ROWS_IN(q), IN(k), IN(v), IN(k_scale), IN(v_scale), IN(where), float scale,
                     int reach, int pinned, int from, int heads, int kv_heads, int k_dim,
                     int v_dim, ROWS_OUT(y), OUT(parts), __local float* work,
                     ROUNDED_OUT) {
  __local float scores[ITEMS], weights[ITEMS];
  __local int rows[ITEMS];
  const int item = get_local_id(0), head = get_group_id(0), t = get_group_id(1);
  __global const int* runs = READ(int, where);
  const int row0 = runs[0], rows0 = runs[1], key0 = runs[2];
  const int row1 = runs[3], rows1 = runs[4], key1 = runs[5];
  const int row2 = runs[6], rows2 = runs[7], key2 = runs[8];
  const int kv_head = head / (heads / kv_heads), own = runs[9] + from + t;
  __local float *query = work, *sums = work + k_dim;
  __global const float* asked = ROW_IN(q, t) + head * k_dim;
  for (int i = item; i < k_dim; i += ITEMS) query[i] = asked[i];
  for (int i = item; i < v_dim; i += ITEMS) sums[i] = 0;
  float most = -INFINITY, total = 0;
  const int begin = get_group_id(2) * PART, end = min(begin + PART, own + 1);
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int first = begin; first < end; first += ITEMS) {
    if (own - min(first + ITEMS - 1, own) > reach && first >= pinned) continue;
    const int key = first + item;
    const bool seen = key <= own && (own - key <= reach || key < pinned);
    int row = -1;
    if (key >= key0 && key < key0 + rows0) row = row0 + key - key0;
    if (key >= key1 && key < key1 + rows1) row = row1 + key - key1;
    if (key >= key2 && key < key2 + rows2) row = row2 + key - key2;
    float score = -INFINITY;
    if (seen && row >= 0) {
      const long at = (long)row * kv_heads + kv_head;
#if KV == 2
      const float unit = READ(float, k_scale)[at];
#endif
      float sum = 0;
      for (int i = 0; i < k_dim; ++i)
        sum = fma(query[i], KV_AT(k_buffer + k_at, at * k_dim + i, unit), sum);
      score = sum * scale;
    } else {
      row = -1;
    }
    scores[item] = score;
    barrier(CLK_LOCAL_MEM_FENCE);
    float greatest = most;
    for (int j = 0; j < ITEMS; ++j) greatest = fmax(greatest, scores[j]);
    weights[item] = row < 0 ? 0.0f : exp_of(score - greatest);
    rows[item] = row;
    barrier(CLK_LOCAL_MEM_FENCE);
    const float fade = exp_of(most - greatest);
    most = greatest;
    float added = 0;
    for (int j = 0; j < ITEMS; ++j) added += weights[j];
    total = fma(total, fade, added);
    for (int i = item; i < v_dim; i += ITEMS) {
      float sum = 0;
      for (int j = 0; j < ITEMS; ++j) {
        if (rows[j] < 0) continue;
        const long at = (long)rows[j] * kv_heads + kv_head;
#if KV == 2
        const float unit = READ(float, v_scale)[at];
#endif
        sum = fma(weights[j], KV_AT(v_buffer + v_at, at * v_dim + i, unit), sum);
      }
      sums[i] = fma(sums[i], fade, sum);
    }
  }
  if (ABSENT(parts)) {
    __global float* to = ROW_OUT(y, t) + head * v_dim;
    for (int i = item; i < v_dim; i += ITEMS) to[i] = divide(sums[i], total);
    round_made(y_buffer, y_at, y_stride, heads * v_dim, t, 1, head * v_dim, v_dim, item, ITEMS,
               ROUNDED_VALUES);
  } else {
    __global float* to =
        WRITE(float, parts) +
        (((long)t * heads + head) * get_num_groups(2) + get_group_id(2)) * (2 + v_dim);
    if (item == 0) vstore2((float2)(most, total), 0, to);
    for (int i = item; i < v_dim; i += ITEMS) to[2 + i] = sums[i];
  }
}

// The parts of each query of a head, joined in order; those of which nothing was seen are left out.
// Item (c, t): a value of a head, of `width` of all.
__kernel void join_parts(IN(parts), int count, int v_dim, ROWS_OUT(y), int width, ROUNDED_OUT) {
  const int c = get_global_id(0), t = get_global_id(1);
  if (c < width) {
    const int h = c / v_dim, i = c % v_dim;
    __global const float* part =
        READ(float, parts) + ((long)t * (width / v_dim) + h) * count * (2 + v_dim);
    float most = -INFINITY, total = 0, sum = 0;
    for (int n = 0; n < count; ++n, part += 2 + v_dim) {
      if (part[0] == -INFINITY) continue;
      const float greatest = fmax(most, part[0]);
      const float fade = exp_of(most - greatest), by = exp_of(part[0] - greatest);
      total = fma(total, fade, part[1] * by);
      sum = fma(sum, fade, part[2 + i] * by);
      most = greatest;
    }
    ROW_OUT(y, t)[c] = divide(sum, total);
  }
  ROUND_COLUMNS(y, t, width);
}
#endif
