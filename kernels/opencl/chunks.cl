// Scans of state space models over prompts, in chunks, as products of matrices; scan.cl has them token
// by token. Contracts: kernels/cpu/scan.
// Chunks end at multiples of CHUNK in the sequence: the first of a call has `first` tokens, the last
// what is left. Each is told by its number in the call.
#define CHUNK 64

inline int begin_of(int chunk, int first) { return chunk == 0 ? 0 : first + (chunk - 1) * CHUNK; }
inline int count_of(int chunk, int first, int tokens) {
  return min(first + chunk * CHUNK, tokens) - begin_of(chunk, first);
}

// A work-group has a tile of a product, CHUNK rows and COLS columns; item (lane, slice) eight of the
// rows and two of the columns. What is multiplied comes to local memory, DEPTH terms of the sums at a
// time: rows as [DEPTH][CHUNK], columns as [DEPTH][COLS]. Each sum is one chain in order.
#define LANES 16
#define SLICES 8
#define ITEMS (LANES * SLICES)
#define COLS 32
#define DEPTH 32
#define TILE_GROUP __attribute__((reqd_work_group_size(LANES, SLICES, 1)))
#define ITEM ((int)(get_local_id(1) * LANES + get_local_id(0)))
#define LOCAL_TILES __local float rows[DEPTH * CHUNK], cols[DEPTH * COLS]
// Indices of private arrays are constants, or they would not be registers.
#define EACH_ROW __attribute__((opencl_unroll_hint(8))) for (int r = 0; r < 8; ++r)
// DO(row, its sums in both columns), the same where loops are too deep for compilers to unroll.
#define EIGHT(DO, sums)                                                           \
  DO(0, sums.low.s0, sums.high.s0) DO(1, sums.low.s1, sums.high.s1)               \
  DO(2, sums.low.s2, sums.high.s2) DO(3, sums.low.s3, sums.high.s3)               \
  DO(4, sums.low.s4, sums.high.s4) DO(5, sums.low.s5, sums.high.s5)               \
  DO(6, sums.low.s6, sums.high.s6) DO(7, sums.low.s7, sums.high.s7)
typedef struct {
  float8 low, high;  // of columns lane and lane + LANES
} Tile;

inline Tile no_sums(void) {
  const Tile none = {(float8)(0.0f), (float8)(0.0f)};
  return none;
}

inline Tile multiply_some(Tile sums, __local const float* rows, __local const float* cols,
                          const int from, const int count) {
  const int lane = get_local_id(0), slice = get_local_id(1);
  for (int k = from; k < from + count; ++k) {
    const float8 row = vload8(0, rows + k * CHUNK + 8 * slice);
    sums.low = fma(row, (float8)(cols[k * COLS + lane]), sums.low);
    sums.high = fma(row, (float8)(cols[k * COLS + lane + LANES]), sums.high);
  }
  return sums;
}

inline Tile multiply(Tile sums, __local const float* rows, __local const float* cols) {
  return multiply_some(sums, rows, cols, 0, DEPTH);
}

// Of [DEPTH][width] an item's own: lanes side by side.
#define EACH_PLACE(k, i, width)                               \
  for (int k = get_local_id(1); k < DEPTH; k += SLICES)       \
    for (int i = get_local_id(0); i < width; i += LANES)

// to[k][i] = from[k][i], zeros from `rows` and `cols` on.
inline void stage(__local float* to, const int width, __global const float* from, long stride,
                  int rows, int cols) {
  EACH_PLACE(k, i, width) to[k * width + i] = k < rows && i < cols ? from[k * stride + i] : 0.0f;
}

// to[k][i] = by[k] from[k][i], [DEPTH][COLS], the same.
inline void stage_times(__local float* to, __local const float* by, __global const float* from,
                        long stride, int rows, int cols) {
  EACH_PLACE(k, i, COLS)
    to[k * COLS + i] = k < rows && i < cols ? by[k] * from[k * stride + i] : 0.0f;
}

// to[k][i] = from[i][first + k], the same.
inline void stage_across(__local float* to, const int width, __global const float* from, long stride,
                         int rows, int first, int cols) {
  for (int at = ITEM; at < DEPTH / 4 * width; at += ITEMS) {
    const int k = at / width * 4, i = at % width;
    const float4 v = i < rows ? four_at(from + i * stride, first + k, cols) : (float4)(0.0f);
    to[k * width + i] = v.x;
    to[(k + 1) * width + i] = v.y;
    to[(k + 2) * width + i] = v.z;
    to[(k + 3) * width + i] = v.w;
  }
}

// Of a chunk of a head: what tokens' inputs are multiplied by, and the sums of the logarithms of decay
// up to each token in two floats, as differences of large sums are to have the digits of small ones.
// [3][CHUNK]; behind the last token factors of 0 and its sums.
#define LOGS CHUNK
#define LOWS (2 * CHUNK)
#define NOTHING -1e4f  // more than what e^x can tell from it

// What is left at token t of what was there at token s.
#define KEPT(of, t, s) \
  exp_of(fmin((of[LOGS + (t)] - of[LOGS + (s)]) + (of[LOWS + (t)] - of[LOWS + (s)]), 0.0f))

// A sum of logarithms and that of a step's decay.
inline Pair longer(Pair sum, float step, float rate) {
  return step * rate < NOTHING ? pair_add(sum, NOTHING) : pair_add_product(sum, step, rate);
}

// Mamba-2's, with its time steps clamp(softplus(dt + bias), low, high). Item (h, chunk).
__kernel void ssd_decays(ROWS_IN(dt), IN(dt_bias), float low, float high, IN(a), OUT(decays),
                         int first, int tokens, int heads) {
  const int h = get_global_id(0), chunk = get_global_id(1);
  if (h >= heads) return;
  const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
  const float rate = READ(float, a)[h], bias = READ(float, dt_bias)[h];
  __global float* own = WRITE(float, decays) + ((long)chunk * heads + h) * 3 * CHUNK;
  Pair sum = 0;
  for (int t = 0; t < CHUNK; ++t) {
    float step = 0;
    if (t < count) {
      step = clamp(softplus(ROW_IN(dt, begin + t)[h] + bias), low, high);
      sum = longer(sum, step, rate);
    }
    own[t] = step;
    own[LOGS + t] = sum.x;
    own[LOWS + t] = sum.y;
  }
}

// b . c, of tokens s and t of a chunk: products [chunks][groups][s][t], zeros or anything where t < s.
// Group (COLS of t, 1, chunk and group).
TILE_GROUP
__kernel void chunk_products(ROWS_IN(b), ROWS_IN(c), OUT(products), int first, int tokens, int groups,
                           int states) {
  LOCAL_TILES;
  const int lane = get_local_id(0), slice = get_local_id(1), t = get_group_id(0) * COLS;
  const int group = get_group_id(2) % groups, chunk = get_group_id(2) / groups;
  const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
  Tile sums = no_sums();
  for (int from = 0; from < states; from += DEPTH) {
    barrier(CLK_LOCAL_MEM_FENCE);
    stage_across(rows, CHUNK, ROW_IN(b, begin) + group * states, b_stride, count, from, states);
    stage_across(cols, COLS, ROW_IN(c, begin + t) + group * states, c_stride, count - t, from,
                 states);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (8 * slice < t + COLS) sums = multiply(sums, rows, cols);
  }
  __global float* to = WRITE(float, products) + ((long)get_group_id(2) * CHUNK + 8 * slice) * CHUNK;
  float low[8], high[8];
  vstore8(sums.low, 0, low);
  vstore8(sums.high, 0, high);
  EACH_ROW {
    to[r * CHUNK + t + lane] = low[r];
    to[r * CHUNK + t + lane + LANES] = high[r];
  }
}

// What a chunk's tokens add to the state at its end: added [chunks][heads][states][head_dim]. Group
// (COLS channels, CHUNK states, chunk and head).
TILE_GROUP
__kernel void ssd_states(ROWS_IN(x), ROWS_IN(b), IN(decays), OUT(added), int first, int tokens,
                         int heads, int head_dim, int group_heads, int states) {
  LOCAL_TILES;
  __local float left[CHUNK];
  const int lane = get_local_id(0), slice = get_local_id(1);
  const int p = get_group_id(0) * COLS, n = get_group_id(1) * CHUNK;
  const int h = get_group_id(2) % heads, chunk = get_group_id(2) / heads;
  const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
  __global const float* of = READ(float, decays) + (long)get_group_id(2) * 3 * CHUNK;
  if (ITEM < CHUNK) left[ITEM] = of[ITEM] * KEPT(of, CHUNK - 1, ITEM);
  Tile sums = no_sums();
  for (int from = 0; from < count; from += DEPTH) {
    barrier(CLK_LOCAL_MEM_FENCE);
    stage(rows, CHUNK, ROW_IN(b, begin + from) + (h / group_heads) * states + n, b_stride,
          count - from, states - n);
    stage_times(cols, left + from, ROW_IN(x, begin + from) + h * head_dim + p, x_stride,
                count - from, head_dim - p);
    barrier(CLK_LOCAL_MEM_FENCE);
    sums = multiply(sums, rows, cols);
  }
  __global float* to = WRITE(float, added) + (long)get_group_id(2) * states * head_dim + p + lane;
  float low[8], high[8];
  vstore8(sums.low, 0, low);
  vstore8(sums.high, 0, high);
  EACH_ROW {
    const int own = n + 8 * slice + r;
    if (own < states && p + lane < head_dim) to[(long)own * head_dim] = low[r];
    if (own < states && p + lane + LANES < head_dim) to[(long)own * head_dim + LANES] = high[r];
  }
}

// From chunk to chunk: in the place of what each adds comes the state before it, and `state` becomes
// that after the last. Item (i, h): an element of a head's state, of `size`.
__kernel void ssd_join(IN(decays), OUT(added), OUT(state), int chunks, int heads, int size) {
  const int i = get_global_id(0), h = get_global_id(1);
  if (i >= size) return;
  __global float* own = WRITE(float, state) + (long)h * size + i;
  float held = *own;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const long at = (long)chunk * heads + h;
    const float decay = exp_of(READ(float, decays)[at * 3 * CHUNK + LOGS + CHUNK - 1]);
    __global float* place = WRITE(float, added) + at * size + i;
    const float add = *place;
    *place = held;
    held = fma(decay, held, add);
  }
  *own = held;
}

// The group that a head belongs to.
inline int group_of(int h, int heads, int groups, int tiled) {
  return tiled ? h % groups : h / (heads / groups);
}

// y = what c sees of the state before the chunk and of the chunk's inputs x, and D x. Group (COLS
// channels, 1, chunk and head).
TILE_GROUP
__kernel void chunk_outputs(ROWS_IN(x), ROWS_IN(c), IN(d), IN(decays), IN(products), IN(before),
                            ROWS_OUT(y), int first, int tokens, int heads, int head_dim,
                            int groups, int tiled, int states) {
  LOCAL_TILES;
  __local float of[3 * CHUNK];
  const int lane = get_local_id(0), slice = get_local_id(1), p = get_group_id(0) * COLS;
  const int h = get_group_id(2) % heads, chunk = get_group_id(2) / heads;
  const int group = group_of(h, heads, groups, tiled);
  const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
  for (int i = ITEM; i < 3 * CHUNK; i += ITEMS)
    of[i] = READ(float, decays)[(long)get_group_id(2) * 3 * CHUNK + i];
  __global const float* held =
      READ(float, before) + (long)get_group_id(2) * states * head_dim + p;
  Tile sums = no_sums();
  for (int from = 0; from < states; from += DEPTH) {
    barrier(CLK_LOCAL_MEM_FENCE);
    stage_across(rows, CHUNK, ROW_IN(c, begin) + group * states, c_stride, count, from, states);
    stage(cols, COLS, held + (long)from * head_dim, head_dim, states - from, head_dim - p);
    barrier(CLK_LOCAL_MEM_FENCE);
    sums = multiply(sums, rows, cols);
  }
  float low[8], high[8];
  EACH_ROW low[r] = exp_of(of[LOGS + 8 * slice + r]);
  sums.low *= vload8(0, low);
  sums.high *= vload8(0, low);
  const long pairs = ((long)chunk * groups + group) * CHUNK * CHUNK;
  for (int from = 0; from < count; from += DEPTH) {
    barrier(CLK_LOCAL_MEM_FENCE);
    EACH_PLACE(k, t, CHUNK) {
      const int s = from + k;
      const float seen = READ(float, products)[pairs + s * CHUNK + t] * of[s];
      rows[k * CHUNK + t] = s <= t ? seen * KEPT(of, t, s) : 0.0f;
    }
    stage(cols, COLS, ROW_IN(x, begin + from) + h * head_dim + p, x_stride, count - from,
          head_dim - p);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (8 * slice + 7 >= from) sums = multiply(sums, rows, cols);
  }
  const float skip = ABSENT(d) ? 0.0f : READ(float, d)[h];
  vstore8(sums.low, 0, low);
  vstore8(sums.high, 0, high);
  EACH_ROW {
    const int t = 8 * slice + r, at = h * head_dim + p + lane;
    if (t >= count) continue;
    if (p + lane < head_dim)
      ROW_OUT(y, begin + t)[at] = fma(skip, ROW_IN(x, begin + t)[at], low[r]);
    if (p + lane + LANES < head_dim)
      ROW_OUT(y, begin + t)[at + LANES] =
          fma(skip, ROW_IN(x, begin + t)[at + LANES], high[r]);
  }
}

// ---- The gated delta rule -----------------------------------------------------------------------
// Of a chunk, with S the state before it, M[i][j] = -beta[i] k[i] . k[j] decayed from j to i < j, and
// k and q of unit length: delta = (1 - M)^-1 (beta v - beta decay k S) = U - W S, of which U and W
// need no state. So only W S and what delta adds to the state go from chunk to chunk.

// Item (h, chunk). log_decay = rate softplus(x + bias); inputs are delta itself.
__kernel void delta_decays(ROWS_IN(x), IN(bias), IN(rate), OUT(decays), int first, int tokens,
                           int heads) {
  const int h = get_global_id(0), chunk = get_global_id(1);
  if (h >= heads) return;
  const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
  const float by = READ(float, rate)[h], more = READ(float, bias)[h];
  __global float* own = WRITE(float, decays) + ((long)chunk * heads + h) * 3 * CHUNK;
  Pair sum = 0;
  for (int t = 0; t < CHUNK; ++t) {
    if (t < count) {
      const float step = softplus(ROW_IN(x, begin + t)[h] + more);
      sum = longer(sum, step, by);
    }
    own[t] = t < count ? 1.0f : 0.0f;
    own[LOGS + t] = sum.x;
    own[LOWS + t] = sum.y;
  }
}

// q and k of unit length: [rows][2 * width], q's first. factors: delta_lengths. Item (i, t).
__kernel void delta_units(ROWS_IN(q), ROWS_IN(k), ROWS_IN(factors), int k_dim, ROWS_OUT(units),
                          int width) {
  const int i = get_global_id(0), t = get_global_id(1);
  if (i >= width) return;
  __global const float* by = ROW_IN(factors, t) + i / k_dim;
  ROW_OUT(units, t)[i] = ROW_IN(q, t)[i] * by[0];
  ROW_OUT(units, t)[width + i] = ROW_IN(k, t)[i] * by[width / k_dim];
}

// W [chunks][heads][CHUNK][k_dim], and U as delta. Group (COLS of W, then of U, 1, chunk and head).
TILE_GROUP
__kernel void delta_solve(ROWS_IN(k), ROWS_IN(v), ROWS_IN(beta), IN(decays), IN(products), OUT(w),
                          ROWS_OUT(delta), int first, int tokens, int heads, int key_heads,
                          int tiled, int k_dim, int v_dim) {
  LOCAL_TILES;
  __local float of[3 * CHUNK], steps[CHUNK], factors[CHUNK];
  const int lane = get_local_id(0), slice = get_local_id(1);
  const int h = get_group_id(2) % heads, chunk = get_group_id(2) / heads;
  const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
  const int key_head = group_of(h, heads, key_heads, tiled);
  const int w_groups = (k_dim + COLS - 1) / COLS, own = get_group_id(0);
  const bool of_w = own < w_groups;
  const int p = (of_w ? own : own - w_groups) * COLS + lane, width = of_w ? k_dim : v_dim;
  for (int i = ITEM; i < 3 * CHUNK; i += ITEMS)
    of[i] = READ(float, decays)[(long)get_group_id(2) * 3 * CHUNK + i];
  if (ITEM < CHUNK) steps[ITEM] = ITEM < count ? ROW_IN(beta, begin + ITEM)[h] : 0.0f;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (ITEM < CHUNK) factors[ITEM] = of_w ? steps[ITEM] * exp_of(of[LOGS + ITEM]) : steps[ITEM];
  barrier(CLK_LOCAL_MEM_FENCE);
  __global const float* right = of_w ? READ(float, k) + key_head * k_dim : READ(float, v) + h * v_dim;
  const long stride = of_w ? k_stride : v_stride;
  const int near = min(p, width - 1), far = min(p + LANES, width - 1);
  float low[8], high[8];
  EACH_ROW {
    const int t = 8 * slice + r;
    __global const float* from = right + (begin + min(t, count - 1)) * stride;
    low[r] = factors[t] * from[near];
    high[r] = factors[t] * from[far];
  }
  Tile x = {vload8(0, low), vload8(0, high)};
  const long pairs = ((long)chunk * key_heads + key_head) * CHUNK * CHUNK;
  for (int from = 0; from < count; from += DEPTH) {
    barrier(CLK_LOCAL_MEM_FENCE);
    EACH_PLACE(k, i, CHUNK) {
      const int j = from + k;
      const float seen = -steps[i] * READ(float, products)[pairs + j * CHUNK + i];
      rows[k * CHUNK + i] = j < i ? seen * KEPT(of, i, j) : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    // Eight tokens are solved by the slice that has them, then taken from all that are behind.
    for (int eight = 0; eight < DEPTH; eight += 8) {
      if (8 * slice == from + eight) {
        __local const float* m = rows + eight * CHUNK + 8 * slice;
#define SOLVED(j, element)                                              \
  {                                                                     \
    const float8 told = vload8(0, m + j * CHUNK);                       \
    x.low = fma(told, (float8)(x.low.element), x.low);                  \
    x.high = fma(told, (float8)(x.high.element), x.high);               \
  }
        SOLVED(0, s0) SOLVED(1, s1) SOLVED(2, s2) SOLVED(3, s3) SOLVED(4, s4) SOLVED(5, s5) SOLVED(6, s6)
        vstore8(x.low, 0, low);
        vstore8(x.high, 0, high);
        EACH_ROW {
          cols[(eight + r) * COLS + lane] = low[r];
          cols[(eight + r) * COLS + lane + LANES] = high[r];
        }
      }
      barrier(CLK_LOCAL_MEM_FENCE);
      if (8 * slice > from + eight) x = multiply_some(x, rows, cols, eight, 8);
    }
  }
  vstore8(x.low, 0, low);
  vstore8(x.high, 0, high);
  EACH_ROW {
    const int t = 8 * slice + r;
    if (!of_w && t >= count) continue;
    __global float* to = of_w ? WRITE(float, w) + ((long)get_group_id(2) * CHUNK + t) * k_dim
                              : ROW_OUT(delta, begin + t) + h * v_dim;
    if (p < width) to[p] = low[r];
    if (p + LANES < width) to[p + LANES] = high[r];
  }
}

// From chunk to chunk: delta becomes U - W S, `before` [chunks][heads][k_dim][v_dim] the state before
// each, of which the first is there, and `state` that after the last. Group (COLS channels, 1, head).
TILE_GROUP
__kernel void delta_states(ROWS_IN(k), IN(decays), IN(w), ROWS_OUT(delta), OUT(before), OUT(state),
                           int chunks, int first, int tokens, int heads, int key_heads, int tiled,
                           int k_dim, int v_dim) {
  LOCAL_TILES;
  __local float left[CHUNK];
  const int lane = get_local_id(0), slice = get_local_id(1), p = get_group_id(0) * COLS;
  const int h = get_group_id(2), key_head = group_of(h, heads, key_heads, tiled);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int begin = begin_of(chunk, first), count = count_of(chunk, first, tokens);
    const long at = (long)chunk * heads + h;
    __global const float* of = READ(float, decays) + at * 3 * CHUNK;
    __global const float* solved = READ(float, w) + at * CHUNK * k_dim;
    __global const float* held = WRITE(float, before) + at * k_dim * v_dim + p;
    const float decay = exp_of(of[LOGS + CHUNK - 1]);
    Tile sums = no_sums();
    for (int from = 0; from < k_dim; from += DEPTH) {
      barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
      stage_across(rows, CHUNK, solved, k_dim, count, from, k_dim);
      stage(cols, COLS, held + (long)from * v_dim, v_dim, k_dim - from, v_dim - p);
      if (from == 0 && ITEM < CHUNK) left[ITEM] = KEPT(of, CHUNK - 1, ITEM);
      barrier(CLK_LOCAL_MEM_FENCE);
      sums = multiply(sums, rows, cols);
    }
#define TAKE(r, first, second)                                                            \
  {                                                                                       \
    const int t = 8 * slice + r;                                                          \
    __global float* to = ROW_OUT(delta, begin + t) + h * v_dim + p + lane;                \
    if (t < count && p + lane < v_dim) to[0] -= first;                                    \
    if (t < count && p + lane + LANES < v_dim) to[LANES] -= second;                       \
  }
    EIGHT(TAKE, sums)
    __global float* next = chunk + 1 < chunks
                               ? WRITE(float, before) + (at + heads) * k_dim * v_dim
                               : WRITE(float, state) + (long)h * k_dim * v_dim;
    for (int n = 0; n < k_dim; n += CHUNK) {
      sums = no_sums();
      for (int from = 0; from < count; from += DEPTH) {
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
        stage(rows, CHUNK, ROW_IN(k, begin + from) + key_head * k_dim + n, k_stride, count - from,
              k_dim - n);
        stage_times(cols, left + from, ROW_OUT(delta, begin + from) + h * v_dim + p, delta_stride,
                    count - from, v_dim - p);
        barrier(CLK_LOCAL_MEM_FENCE);
        sums = multiply(sums, rows, cols);
      }
#define ADD(r, first, second)                                                             \
  {                                                                                       \
    const int own = n + 8 * slice + r;                                                    \
    const long place = (long)own * v_dim + lane;                                          \
    if (own < k_dim && p + lane < v_dim) next[place + p] = fma(decay, held[place], first); \
    if (own < k_dim && p + lane + LANES < v_dim)                                          \
      next[place + p + LANES] = fma(decay, held[place + LANES], second);                  \
  }
      EIGHT(ADD, sums)
    }
  }
}
