// Products with weights, one program for each kind of them:
//   LAYOUT  a Layout of kernels/weights.h, by its number
//   MINIMA  1 where groups have a minimum
//   ROUNDED 1 for activations in integers (kernels/cpu/linear/linear_i8.h), 0 for FP32 ones
//           (linear_f32.h); both contracts hold
// A work-group takes 16 outputs, side by side as a tile has them, and TOKENS tokens; its SLICES
// slices each some of the columns, and their sums are added in order. So an output has the same
// bits in every call.
// A launch has up to UNITS units of a matrix, one below the other; and may add what they give to
// other rows, and give it in 8 bits.
#define SLICES 8
#define TOKENS 8

#define ROWS_F32 0
#define ROWS_F16 1
#define ROWS_BF16 2
#define TILES_F16 3
#define TILES_I8 4
#define TILES_I4 5
#define TILES_I5 6
#define TILES_I6 7
#define TILES_I2 8
#define TILES_I3 9

#define INTEGERS (LAYOUT >= TILES_I8)

// Of the integer that a code stands for: code - OFFSET.
#if MINIMA || LAYOUT == TILES_I8
#define OFFSET 0
#elif LAYOUT == TILES_I2
#define OFFSET 2
#elif LAYOUT == TILES_I3
#define OFFSET 4
#elif LAYOUT == TILES_I4
#define OFFSET 8
#elif LAYOUT == TILES_I5
#define OFFSET 16
#elif LAYOUT == TILES_I6
#define OFFSET 32
#endif

#if INTEGERS
// Lines of 16 words that a row of tiles has.
inline int lines_of(int cols) {
#if LAYOUT == TILES_I8
  return (cols + 3) / 4;
#elif LAYOUT == TILES_I4
  return (cols + 7) / 8;
#else
  const int lines[] = {5, 6, 2, 3};
  return (cols + 31) / 32 * lines[LAYOUT - TILES_I5];
#endif
}

// Codes of 16 columns, four to a word, from the words that hold them: of I8 all four; else the first
// or the first two have the low bits, and the third, moved to where the part begins, the others.
inline uint4 codes_of(uint first, uint second, uint third, uint fourth) {
#if LAYOUT == TILES_I8
  return (uint4)(first, second, third, fourth);
#elif LAYOUT == TILES_I2
  return (uint4)(first, first >> 2, first >> 4, first >> 6) & 0x03030303u;
#elif LAYOUT == TILES_I3
  return ((uint4)(first, first >> 2, first >> 4, first >> 6) & 0x03030303u) |
         ((uint4)(third << 2, third << 1, third, third >> 1) & 0x04040404u);
#else
  const uint4 low = (uint4)(first, first >> 4, second, second >> 4) & 0x0f0f0f0fu;
#if LAYOUT == TILES_I5
  return low | ((uint4)(third << 4, third << 3, third << 2, third << 1) & 0x10101010u);
#elif LAYOUT == TILES_I6
  return low | ((uint4)(third << 4, third << 2, third, third >> 2) & 0x30303030u);
#else
  return low;
#endif
#endif
}

// The codes of one output at columns 16 b to 16 b + 15. `lines`: the row of tiles, from the output's
// word on; `last`: its last line, in whose place none is read that is not there.
inline uint4 codes_at(__global const uint* lines, int b, int last) {
#if LAYOUT == TILES_I8
  return codes_of(lines[16 * min(4 * b, last)], lines[16 * min(4 * b + 1, last)],
                  lines[16 * min(4 * b + 2, last)], lines[16 * min(4 * b + 3, last)]);
#elif LAYOUT == TILES_I4
  return codes_of(lines[16 * min(2 * b, last)], lines[16 * min(2 * b + 1, last)], 0, 0);
#else
  const int part = b % 2;
#if LAYOUT == TILES_I5
  __global const uint* tile = lines + 16 * 5 * (b / 2);
  return codes_of(tile[16 * 2 * part], tile[16 * (2 * part + 1)], tile[16 * 4] >> 4 * part, 0);
#elif LAYOUT == TILES_I6
  __global const uint* tile = lines + 16 * 6 * (b / 2);
  return codes_of(tile[16 * 2 * part], tile[16 * (2 * part + 1)], tile[16 * (4 + part)], 0);
#elif LAYOUT == TILES_I2
  return codes_of(lines[16 * b], 0, 0, 0);
#else
  __global const uint* tile = lines + 16 * 3 * (b / 2);
  return codes_of(tile[16 * part], 0, tile[16 * 2] >> 4 * part, 0);
#endif
#endif
}

// Integers of a word of codes.
inline int4 integers_of(uint codes) {
#if LAYOUT == TILES_I8
  return convert_int4(as_char4(codes));
#else
  return convert_int4(as_uchar4(codes)) - OFFSET;
#endif
}

// codes . x, of four columns.
inline int dot4(uint codes, uint x, int sum) {
#if defined DOT_BUILT_IN && LAYOUT == TILES_I8
  return sum + dot_4x8packed_ss_int(codes, x);
#elif defined DOT_BUILT_IN
  return sum + dot_4x8packed_us_int(codes, x);
#else
#if LAYOUT == TILES_I8
  const int4 w = convert_int4(as_char4(codes));
#else
  const int4 w = convert_int4(as_uchar4(codes));
#endif
  const int4 products = w * convert_int4(as_char4(x));
  return sum + products.x + products.y + products.z + products.w;
#endif
}
#endif

// A scale or a minimum: FP16 [tiles][groups][16].
inline float of_group(__global const half* halves, int tile, int groups, int group, int o) {
  return vload_half(o, halves + ((long)tile * groups + group) * 16);
}

// Weights of output 16 tile + o at columns 16 b to 16 b + 15, as FP32; what is beyond the matrix is
// anything that can be multiplied.
#define WEIGHT_ARGUMENTS IN(w), IN(w_scale), IN(w_min), int rows, int cols, int group

inline void weights_at(WEIGHT_ARGUMENTS, int tile, int o, int b, float* out) {
#if INTEGERS
  const int lines = lines_of(cols), groups = (cols + group - 1) / group;
  const uint4 codes =
      codes_at(READ(uint, w) + (long)tile * lines * 16 + o, b, lines - 1);
  const uint words[4] = {codes.x, codes.y, codes.z, codes.w};
  // Groups are of 16 columns or more, whose beginnings are multiples of 16; or one for all.
  const int own = min(16 * b / group, groups - 1);
  const float scale = of_group(READ(half, w_scale), tile, groups, own, o);
#if MINIMA
  const float minimum = of_group(READ(half, w_min), tile, groups, own, o);
#endif
  for (int i = 0; i < 4; ++i) {
    const float4 integers = convert_float4(integers_of(words[i]));
#if MINIMA
    vstore4(fma(integers, scale, minimum), i, out);
#else
    vstore4(integers * scale, i, out);
#endif
  }
#elif LAYOUT == TILES_F16
  const int lines = (cols + 1) / 2;
  __global const half* from = READ(half, w) + ((long)tile * lines * 16 + o) * 2;
  for (int i = 0; i < 8; ++i) {
    const long line = min(8 * b + i, lines - 1);
    out[2 * i] = vload_half(line * 32, from);
    out[2 * i + 1] = vload_half(line * 32 + 1, from);
  }
#else
  const long from = (long)min(16 * tile + o, rows - 1) * cols;
  for (int i = 0; i < 16; ++i) {
    const long at = from + min(16 * b + i, cols - 1);
#if LAYOUT == ROWS_F32
    out[i] = READ(float, w)[at];
#elif LAYOUT == ROWS_F16
    out[i] = vload_half(at, READ(half, w));
#else
    out[i] = as_float((uint)READ(ushort, w)[at] << 16);
#endif
  }
#endif
}

#define WEIGHT_VALUES \
  w_buffer, w_at, w_scale_buffer, w_scale_at, w_min_buffer, w_min_at, rows, cols, group

#if !ROUNDED
// Rows of W, times `by`, to rows of y: places[t] = (row of y, row of W). Item (b, t): 16 columns.
__kernel void embed(WEIGHT_ARGUMENTS, IN(places), float by, ROWS_OUT(y), int width) {
  const int b = get_global_id(0), t = get_global_id(1);
  if (b >= width) return;
  const int2 place = READ(int2, places)[t];
  float weights[16];
  weights_at(WEIGHT_VALUES, place.y / 16, place.y % 16, b, weights);
  __global float* to = ROW_OUT(y, place.x) + 16 * b;
  const int count = min(16, cols - 16 * b);
  for (int i = 0; i < 16; ++i)
    if (i < count) to[i] = weights[i] * by;
}
#endif

#if ROUNDED
#define INPUT IN(x), int x_stride, IN(x_scale), IN(x_sum), int x_group
#define INPUT_VALUES \
  x_buffer, x_at, x_stride, x_scale_buffer, x_scale_at, x_sum_buffer, x_sum_at, x_group
#else
#define INPUT ROWS_IN(x)
#define INPUT_VALUES x_buffer, x_at, x_stride
#endif

// acc[j] = the slice's products with tokens first + j, j < count, a constant where this is inlined.
#define EACH_TOKEN __attribute__((opencl_unroll_hint(TOKENS))) for (int j = 0; j < count; ++j)
inline void slice_products(const int count, WEIGHT_ARGUMENTS, INPUT, int tile, int o, int slice,
                           int first, float* acc) {
  EACH_TOKEN acc[j] = 0;
#if ROUNDED
  const int lines = lines_of(cols), groups = (cols + group - 1) / group;
  const int x_groups = (cols + x_group - 1) / x_group;
  __global const uint* own = READ(uint, w) + (long)tile * lines * 16 + o;
  const int end = x_groups * (slice + 1) / SLICES;
  for (int g = x_groups * slice / SLICES; g < end; ++g) {
    int dot[TOKENS];
    EACH_TOKEN dot[j] = 0;
    const int stop = (min(cols, (g + 1) * x_group) + 15) / 16;
    for (int b = g * x_group / 16; b < stop; ++b) {
      const uint4 codes = codes_at(own, b, lines - 1);
      EACH_TOKEN {
        const uint4 q =
            vload4(b, (__global const uint*)(READ(char, x) + (long)(first + j) * x_stride));
        int sum = dot4(codes.x, q.x, dot[j]);
        sum = dot4(codes.y, q.y, sum);
        sum = dot4(codes.z, q.z, sum);
        dot[j] = dot4(codes.w, q.w, sum);
      }
    }
    const int of_w = min(g * x_group / group, groups - 1);
    const float scale = of_group(READ(half, w_scale), tile, groups, of_w, o);
#if MINIMA
    const float minimum = of_group(READ(half, w_min), tile, groups, of_w, o);
#endif
    EACH_TOKEN {
      const long at = (long)(first + j) * x_groups + g;
      const int sum = READ(int, x_sum)[at];
#if MINIMA
      const float product = fma(scale, (float)dot[j], minimum * (float)sum);
#else
      const float product = scale * (float)(dot[j] - OFFSET * sum);
#endif
      acc[j] = fma(READ(float, x_scale)[at], product, acc[j]);
    }
  }
#else
  const int blocks = (cols + 15) / 16, end = blocks * (slice + 1) / SLICES;
  for (int b = blocks * slice / SLICES; b < end; ++b) {
    float weights[16];
    weights_at(WEIGHT_VALUES, tile, o, b, weights);
    const int some = min(16, cols - 16 * b);
    EACH_TOKEN {
      __global const float* row = ROW_IN(x, first + j) + 16 * b;
      if (some == 16)
        for (int i = 0; i < 16; ++i) acc[j] = fma(weights[i], row[i], acc[j]);
      else
        for (int i = 0; i < 16; ++i)
          acc[j] = i < some ? fma(weights[i], row[min(i, some - 1)], acc[j]) : acc[j];
    }
  }
#endif
}

// A unit: rows, of which there are none where it is not there, and the bias of those.
#define UNIT(n) IN(w##n), IN(w##n##_scale), IN(w##n##_min), IN(bias##n), int rows##n
// What all kernels here are given. sum = base + by * y, where there is a sum.
#define PRODUCT                                                                                  \
  UNIT(0), UNIT(1), UNIT(2), int cols, int group, INPUT, int tokens, ROWS_OUT(y), ROWS_IN(base), \
      float by, ROWS_OUT(sum), int rounded_cols, ROUNDED_OUT

// A work-group takes a tile by SLICES slices, or two by twice as many: columns to be rounded are a
// group of 32. Not one after the other, which would keep all arguments in registers.
#define TILES_EACH ((int)get_local_size(1) / SLICES)
#define OWN_TILE ((int)get_local_id(1) / SLICES)

// The unit of the tile that is the matrix's `place`th: its weights, and its tile; rows are too few
// where there is no such tile.
#define TAKE_UNIT(n)                                                                        \
  w_buffer = w##n##_buffer, w_at = w##n##_at, w_scale_buffer = w##n##_scale_buffer,         \
  w_scale_at = w##n##_scale_at, w_min_buffer = w##n##_min_buffer, w_min_at = w##n##_min_at, \
  rows = rows##n
#define GO_TO_UNIT(n)                            \
  if (rows##n > 0 && tile >= (rows + 15) / 16) { \
    tile -= (rows + 15) / 16;                    \
    TAKE_UNIT(n);                                \
  }
#define FIND_UNIT(place)                                          \
  __global const uchar *w_buffer, *w_scale_buffer, *w_min_buffer; \
  ulong w_at, w_scale_at, w_min_at;                               \
  int rows, tile = place;                                         \
  TAKE_UNIT(0);                                                   \
  GO_TO_UNIT(1)                                                   \
  GO_TO_UNIT(2)
// Its bias, and the rows above it: looked for later, as registers are few.
#define GO_TO_BIAS(n)                              \
  if (rows##n > 0 && left >= (of_it + 15) / 16) {  \
    left -= (of_it + 15) / 16;                     \
    above += of_it, of_it = rows##n;               \
    bias_buffer = bias##n##_buffer, bias_at = bias##n##_at; \
  }
#define FIND_BIAS(place)                             \
  __global const uchar* bias_buffer = bias0_buffer;  \
  ulong bias_at = bias0_at;                          \
  int left = place, above = 0, of_it = rows0;        \
  GO_TO_BIAS(1)                                      \
  GO_TO_BIAS(2)

// The sum of all slices' parts of output n of the unit, for token j of the work-group's.
#define GIVE(j)                                                                       \
  {                                                                                   \
    float all = own[0][j][o];                                                       \
    for (int s = 1; s < SLICES; ++s) all += own[s][j][o];                           \
    if (!ABSENT(bias)) all += READ(float, bias)[n];                                   \
    const int c = above + n, t = first + j;                                           \
    ROW_OUT(y, t)[c] = all;                                                           \
    if (!ABSENT(sum)) ROW_OUT(sum, t)[c] = ROW_IN(base, t)[c] + by * all;             \
  }
#define ROUND_OUTPUTS                                                                        \
  round_made(y_buffer, y_at, y_stride, rounded_cols, first, count, 32 * (int)get_group_id(0), 32, \
             16 * (int)get_local_id(1) + o, 16 * (int)get_local_size(1), ROUNDED_VALUES)

__kernel void linear(PRODUCT) {
  __local float parts[2][SLICES][TOKENS][16];
  const int o = get_local_id(0), slice = (int)get_local_id(1) % SLICES;
  const int first = get_group_id(2) * TOKENS, count = min(TOKENS, tokens - first);
  __local float (*own)[TOKENS][16] = parts[OWN_TILE];
  FIND_UNIT((int)get_group_id(0) * TILES_EACH + OWN_TILE)
  const int n = 16 * tile + o;
  // Indices of private arrays are constants, or they would not be registers.
  if (16 * tile >= rows) {
  } else if (count == TOKENS) {
    float acc[TOKENS];
    slice_products(TOKENS, WEIGHT_VALUES, INPUT_VALUES, tile, o, slice, first, acc);
    for (int j = 0; j < TOKENS; ++j) own[slice][j][o] = acc[j];
  } else {
    for (int j = 0; j < count; ++j) {
      float acc[1];
      slice_products(1, WEIGHT_VALUES, INPUT_VALUES, tile, o, slice, first + j, acc);
      own[slice][j][o] = acc[0];
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  FIND_BIAS((int)get_group_id(0) * TILES_EACH + OWN_TILE)
  if (slice < count && n < rows) GIVE(slice)
  ROUND_OUTPUTS;
}

#if defined SUB_GROUPS
// The same, in every bit, by sub-groups of LANES lanes with an output each and as many tokens: what
// lanes load of activations they share, and lines of weights are read as blocks. Groups of
// activations are of multiples of 32 columns, or one of all.
#if ROUNDED && defined MATRIX
#define LANES MATRIX
#else
#define LANES 16
#endif
// Tokens at once, where there are several: half of them where registers are too few for all.
#if ROUNDED && LANES == 16 && LAYOUT > TILES_I4
#define AT_ONCE 8
#else
#define AT_ONCE LANES
#endif
#define EACH_LANE(j, count) __attribute__((opencl_unroll_hint(LANES))) for (int j = 0; j < count; ++j)

#if ROUNDED
#if LAYOUT == TILES_I8
#define LINES 8
#elif LAYOUT == TILES_I4
#define LINES 4
#elif LAYOUT == TILES_I5
#define LINES 5
#elif LAYOUT == TILES_I6
#define LINES 6
#elif LAYOUT == TILES_I2
#define LINES 2
#else
#define LINES 3
#endif

// Words of lines n, n + 1, ... of 16, of which a sub-group reads its own.
#if LANES == 16
#define LINE(from, n) intel_sub_group_block_read(from + 16 * (n))
#define LINES2(from, n) intel_sub_group_block_read2(from + 16 * (n))
#define LINES4(from, n) intel_sub_group_block_read4(from + 16 * (n))
#else
#define LINE(from, n) intel_sub_group_block_read(from + 16 * (n))
#define LINES2(from, n) (uint2)(LINE(from, n), LINE(from, n + 1))
#define LINES4(from, n) (uint4)(LINE(from, n), LINE(from, n + 1), LINE(from, n + 2), LINE(from, n + 3))
#endif

// The codes of 32 columns, all of which there are, in the lines from `from` on.
inline uint8 piece_at(__global const uint* from) {
#if LAYOUT == TILES_I2 || LAYOUT == TILES_I3
  const uint2 low = LINES2(from, 0);
#if LAYOUT == TILES_I3
  const uint plane = LINE(from, 2);
  return (uint8)(codes_of(low.x, 0, plane, 0), codes_of(low.y, 0, plane >> 4, 0));
#else
  return (uint8)(codes_of(low.x, 0, 0, 0), codes_of(low.y, 0, 0, 0));
#endif
#else
  const uint4 low = LINES4(from, 0);
#if LAYOUT == TILES_I8
  const uint4 more = LINES4(from, 4);
  return (uint8)(low, more);
#elif LAYOUT == TILES_I4
  return (uint8)(codes_of(low.x, low.y, 0, 0), codes_of(low.z, low.w, 0, 0));
#elif LAYOUT == TILES_I5
  const uint plane = LINE(from, 4);
  return (uint8)(codes_of(low.x, low.y, plane, 0), codes_of(low.z, low.w, plane >> 4, 0));
#else
  const uint2 planes = LINES2(from, 4);
  return (uint8)(codes_of(low.x, low.y, planes.x, 0), codes_of(low.z, low.w, planes.y, 0));
#endif
#endif
}

#if defined MATRIX
// Eight tokens' integers at 32 columns: of each, a lane has what its place in the sub-group says.
#if MATRIX == 8
typedef int8 Tokens8;
typedef int Part;
#define PART(at) as_int(intel_sub_group_block_read((__global const uint*)(at)))
#else
typedef short8 Tokens8;
typedef short Part;
#define PART(at) as_short(intel_sub_group_block_read_us((__global const ushort*)(at)))
#endif

// sums[j] += tokens[j] . codes. MATRIX_MODEL: what the instruction does, by other means.
#if defined MATRIX_MODEL
inline int8 matrix_products(Tokens8 tokens, uint8 codes, int8 sums) {
  Part of[8];
  uint words[8];
  int sum[8];
  vstore8(tokens, 0, of);
  vstore8(codes, 0, words);
  vstore8(sums, 0, sum);
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < 8; ++i) {
#if MATRIX == 8
      const uint x = sub_group_broadcast(of[j], i);
#else
      const uint low = as_ushort(sub_group_broadcast(of[j], 2 * i));
      const uint x = low | (uint)as_ushort(sub_group_broadcast(of[j], 2 * i + 1)) << 16;
#endif
      sum[j] = dot4(words[i], x, sum[j]);
    }
  return vload8(0, sum);
}
#elif LAYOUT == TILES_I8
// Compilers that know them may not declare them.
int8 __attribute__((overloadable, convergent)) intel_sub_group_i8_i8_matrix_mad_k32(Tokens8, int8, int8);
inline int8 matrix_products(Tokens8 tokens, uint8 codes, int8 sums) {
  return intel_sub_group_i8_i8_matrix_mad_k32(tokens, as_int8(codes), sums);
}
#else
int8 __attribute__((overloadable, convergent)) intel_sub_group_i8_u8_matrix_mad_k32(Tokens8, uint8, int8);
inline int8 matrix_products(Tokens8 tokens, uint8 codes, int8 sums) {
  return intel_sub_group_i8_u8_matrix_mad_k32(tokens, codes, sums);
}
#endif

// dot[j] += codes . x of LANES tokens from x on, rows of `stride` bytes of which `last` is the last.
inline void add_matrix(uint8 codes, __global const char* x, int stride, int last, int* dot) {
  for (int from = 0; from < LANES; from += 8) {
    Part of[8];
    for (int j = 0; j < 8; ++j) of[j] = PART(x + min(from + j, last) * stride);
    const int8 sums = matrix_products(vload8(0, of), codes, vload8(0, dot + from));
    vstore8(sums, 0, dot + from);
  }
}
#endif

// dot[j] += codes . x of `count` tokens; all lanes read the same of x.
inline void add_words(const int count, uint8 codes, __global const char* x, int stride, int last,
                      int* dot) {
  EACH_LANE(j, count) {
    const uint8 own = vload8(0, (__global const uint*)(x + min(j, last) * stride));
    int sum = dot4(codes.s0, own.s0, dot[j]);
    sum = dot4(codes.s1, own.s1, sum);
    sum = dot4(codes.s2, own.s2, sum);
    sum = dot4(codes.s3, own.s3, sum);
    sum = dot4(codes.s4, own.s4, sum);
    sum = dot4(codes.s5, own.s5, sum);
    sum = dot4(codes.s6, own.s6, sum);
    dot[j] = dot4(codes.s7, own.s7, sum);
  }
}

inline void add_piece(const int count, uint8 codes, __global const char* x, int stride, int last,
                      int* dot) {
#if defined MATRIX
  if (count > 1) return add_matrix(codes, x, stride, last, dot);
#endif
  add_words(count, codes, x, stride, last, dot);
}
#endif

// acc[j] = the slice's products with tokens first + j, j < count, a constant where this is inlined;
// what is beyond the last token is that one again.
inline void shared_products(const int count, WEIGHT_ARGUMENTS, INPUT, int tile, int o, int slice,
                            int first, int tokens, float* acc) {
  const int lane = get_sub_group_local_id(), last = tokens - first - 1;
  EACH_LANE(j, count) acc[j] = 0;
#if ROUNDED
  const int lines = lines_of(cols), groups = (cols + group - 1) / group;
  const int x_groups = (cols + x_group - 1) / x_group, end = x_groups * (slice + 1) / SLICES;
  __global const uint* row = READ(uint, w) + (long)tile * lines * 16;
  __global const uint* own_lines = row + sub_group_broadcast(o, 0);
  __global const char* from = READ(char, x) + (long)first * x_stride;
  // Lane j has the scale and the sum of token j.
  const int own = (first + min(lane, last)) * x_groups;
  for (int g = x_groups * slice / SLICES; g < end; ++g) {
    int dot[LANES];
#if MINIMA
    EACH_LANE(j, count) dot[j] = 0;
#else
    const int sum = READ(int, x_sum)[own + g];
    EACH_LANE(j, count) dot[j] = -OFFSET * sub_group_broadcast(sum, j);
#endif
    const int stop = min(cols, (g + 1) * x_group) / 32;
    for (int p = g * x_group / 32; p < stop; ++p)
      add_piece(count, piece_at(own_lines + 16 * LINES * p), from + 32 * p, x_stride, last, dot);
    if (32 * stop < min(cols, (g + 1) * x_group)) {  // columns that are no whole piece
      const uint8 codes = (uint8)(codes_at(row + o, 2 * stop, lines - 1),
                                  codes_at(row + o, 2 * stop + 1, lines - 1));
      add_piece(count, codes, from + 32 * stop, x_stride, last, dot);
    }
    const int of_w = min(g * x_group / group, groups - 1);
    const float scale = of_group(READ(half, w_scale), tile, groups, of_w, o);
    // Read only now: registers are few while codes are multiplied.
    const float unit = READ(float, x_scale)[own + g];
#if MINIMA
    const float sum = (float)READ(int, x_sum)[own + g];
    const float minimum = of_group(READ(half, w_min), tile, groups, of_w, o);
#endif
    EACH_LANE(j, count) {
#if MINIMA
      const float product =
          fma(scale, (float)dot[j], minimum * sub_group_broadcast(sum, j));
#else
      const float product = scale * (float)dot[j];
#endif
      acc[j] = fma(sub_group_broadcast(unit, j), product, acc[j]);
    }
  }
#else
  const int blocks = (cols + 15) / 16, end = blocks * (slice + 1) / SLICES;
  for (int b = blocks * slice / SLICES; b < end; ++b) {
    float weights[16];
    weights_at(WEIGHT_VALUES, tile, o, b, weights);
    const int some = min(16, cols - 16 * b);
    EACH_LANE(j, count) {
      const float own = ROW_IN(x, first + min(j, last))[16 * b + min(lane, some - 1)];
      if (some == 16)
        for (int i = 0; i < 16; ++i)
          acc[j] = fma(weights[i], sub_group_broadcast(own, i), acc[j]);
      else
        for (int i = 0; i < 16; ++i) {
          const float x = sub_group_broadcast(own, i);
          acc[j] = i < some ? fma(weights[i], x, acc[j]) : acc[j];
        }
    }
  }
#endif
}

__attribute__((intel_reqd_sub_group_size(LANES)))
__kernel void linear_by_sub_groups(PRODUCT) {
  __local float parts[2][SLICES][LANES][16];
  // Compilers are to see that lanes agree on it.
  const int place = sub_group_broadcast((int)get_local_id(1), 0);
  const int slice = place % SLICES, half_of = place / SLICES, o = get_local_id(0);
  const int first = get_group_id(2) * LANES, count = min(LANES, tokens - first);
  __local float (*own)[LANES][16] = parts[half_of];
  FIND_UNIT((int)get_group_id(0) * TILES_EACH + half_of)
  const int n = 16 * tile + o;
  if (16 * tile >= rows) {
  } else if (count == 1) {
    float acc[1];
    shared_products(1, WEIGHT_VALUES, INPUT_VALUES, tile, o, slice, first, tokens, acc);
    own[slice][0][o] = acc[0];
  } else {
#if AT_ONCE == LANES
    float acc[LANES];
    shared_products(LANES, WEIGHT_VALUES, INPUT_VALUES, tile, o, slice, first, tokens, acc);
    EACH_LANE(j, LANES) own[slice][j][o] = acc[j];
#else
    for (int from = 0; from < count; from += AT_ONCE) {
      float acc[AT_ONCE];
      shared_products(AT_ONCE, WEIGHT_VALUES, INPUT_VALUES, tile, o, slice, first + from, tokens, acc);
      EACH_LANE(j, AT_ONCE) own[slice][from + j][o] = acc[j];
    }
#endif
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  FIND_BIAS((int)get_group_id(0) * TILES_EACH + half_of)
  if (n < rows)
    for (int j = slice; j < count; j += SLICES) GIVE(j)
  ROUND_OUTPUTS;
}
#endif
