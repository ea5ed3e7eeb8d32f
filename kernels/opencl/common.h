// What every program begins with. Only what OpenCL 3.0 C has everywhere: no fp16 arithmetic, no
// doubles, no sub-groups.
#pragma OPENCL FP_CONTRACT OFF

// Compilers that do not declare the built-in functions take them for functions of another program.
#if defined INTEGER_DOT && defined __opencl_c_integer_dot_product_input_4x8bit_packed
#define DOT_BUILT_IN
#endif

// An argument that is memory: a buffer, and the byte at which it begins there; or no buffer, at
// NONE. ROWS is one with the distance of its rows, in floats.
#define IN(name) __global const uchar *name##_buffer, ulong name##_at
#define OUT(name) __global uchar *name##_buffer, ulong name##_at
#define ROWS_IN(name) IN(name), int name##_stride
#define ROWS_OUT(name) OUT(name), int name##_stride
#define READ(T, name) ((__global const T*)(name##_buffer + name##_at))
#define WRITE(T, name) ((__global T*)(name##_buffer + name##_at))
#define NONE 0xffffffffffffffffUL
#define ABSENT(name) (name##_at == NONE)
// Row t of one.
#define ROW_IN(name, t) (READ(float, name) + (long)(t) * name##_stride)
#define ROW_OUT(name, t) (WRITE(float, name) + (long)(t) * name##_stride)

// Four of a row's numbers from n on; zeros beyond `end`.
inline float4 four_at(__global const float* row, int n, int end) {
  if (n + 4 <= end) return vload4(0, row + n);
  return (float4)(n < end ? row[n] : 0.0f, n + 1 < end ? row[n + 1] : 0.0f,
                  n + 2 < end ? row[n + 2] : 0.0f, 0.0f);
}

// a / b rounded to nearest, on devices whose division is only near it: one step on the remainder.
inline float divide(float a, float b) {
#ifdef ROUNDED_DIVISION
  return a / b;
#else
  const float near = a / b;
  const float better = fma(fma(-near, b, a), 1.0f / b, near);
  return isfinite(better) ? better : near;
#endif
}

inline float root(float x) {
#ifdef ROUNDED_DIVISION
  return sqrt(x);
#else
  const float near = sqrt(x);
  return near > 0 ? fma(fma(-near, near, x), 0.5f / near, near) : near;
#endif
}

// The polynomials of kernels/cpu/math_simd.h, which says what they are: the same errors on every
// device, whatever its own exp is.
inline float exp_of(float x) {
  const float magic = 0x1.8p23f;
  const float shifted = fma(x, 0x1.715476p+0f, magic), n = shifted - magic;
  float r = fma(-n, 0x1.62e4p-1f, x);
  r = fma(-n, 0x1.7f7d1cp-20f, r);
  float p = 0x1.6a241ap-10f;
  p = fma(p, r, 0x1.1239f2p-7f);
  p = fma(p, r, 0x1.5558f2p-5f);
  p = fma(p, r, 0x1.555492p-3f);
  p = fma(p, r, 0x1.fffffcp-2f);
  p = fma(p, r, 1.0f);
  p = fma(p, r, 1.0f);
  const float scaled = as_float(as_uint(p) + (as_uint(shifted) << 23));
  const float low = x >= -0x1.5d589ep+6f ? scaled : 0.0f;
  return x <= 0x1.62e42ep+6f ? low : x + INFINITY;
}

inline float silu(float v) { return divide(v, 1.0f + exp_of(-v)); }
inline float sigmoid(float v) { return divide(1.0f, 1.0f + exp_of(-v)); }

inline float softplus(float v) {
  const float w = exp_of(-fabs(v));
  const float s = divide(w, 2.0f + w), s2 = s * s;
  float p = 0x1.1ed7bep-3f;
  p = fma(p, s2, 0x1.1ebd0ep-3f);
  p = fma(p, s2, 0x1.99d208p-3f);
  p = fma(p, s2, 0x1.555502p-2f);
  const float twice = s + s;
  const float log1p = fma(twice * s2, p, twice);
  return (v < 0 ? 0.0f : v) + log1p;
}

inline float gelu(float v) {
  const float x = fabs(v);
  const float t = divide(1.0f, fma(x, 0x1.d70a3ep-3f, 1.0f));
  float q = -0x1.412aaep-4f;
  q = fma(q, t, 0x1.29158ep-2f);
  q = fma(q, t, -0x1.1c267ap-2f);
  q = fma(q, t, 0x1.33eb24p-2f);
  q = fma(q, t, -0x1.0905d8p-5f);
  q = fma(q, t, 0x1.e875ccp-4f);
  q = fma(q, t, 0x1.5f9534p-4f);
  q = fma(q, t, 0x1.7a5610p-4f);
  q = fma(q, t, -0x1.c575dep-16f);
  const float e = exp_of(x * x * -0.5f);
  const float finite = x > 20 ? 20.0f : x;
  return fma(-(finite * q), e, v < 0 ? 0.0f : v);
}

// A number in two floats, the second what the first has lost: sums where there are no doubles
// (Knuth's two-sum; the error of a product is a fused multiply-add).
typedef float2 Pair;
inline Pair pair_add(Pair sum, float x) {
  const float s = sum.x + x, b = s - sum.x;
  return (Pair)(s, sum.y + ((sum.x - (s - b)) + (x - b)));
}
inline Pair pair_join(Pair a, Pair b) {
  const Pair sum = pair_add(a, b.x);
  return (Pair)(sum.x, sum.y + b.y);
}
inline Pair pair_add_product(Pair sum, float a, float b) {
  const float product = a * b;
  const Pair added = pair_add(sum, product);
  return (Pair)(added.x, added.y + fma(a, b, -product));
}

// Where activations of 8 bits go, in groups of columns: plane p of row t is row t * planes + p of
// rounded, its scales and its sums. There are 1 or 2 planes; the second has what the first lost.
#define ROUNDED_OUT                                                                              \
  int rounded_group, int rounded_step, int rounded_planes, OUT(rounded), int rounded_stride,     \
      OUT(rounded_scale), OUT(rounded_sum)
#define ROUNDED_VALUES                                                                         \
  rounded_group, rounded_step, rounded_planes, rounded_buffer, rounded_at, rounded_stride,     \
      rounded_scale_buffer, rounded_scale_at, rounded_sum_buffer, rounded_sum_at

// Group g of row t of them.
inline void round_group(__global const float* row, int cols, int g, int t, ROUNDED_OUT) {
  const int group = rounded_group, step = rounded_step, planes = rounded_planes;
  const int begin = g * group, end = min(cols, begin + group);
  const int padded = min((cols + 31) / 32 * 32, begin + group), steps = (cols + step - 1) / step;
  float lost_scale = 0;
  for (int p = 0; p < planes; ++p) {
    const long at = (long)t * planes + p;
    __global char* to = WRITE(char, rounded) + at * rounded_stride;
    __global const char* first = to - rounded_stride;  // of the plane before, where there is one
    float most = 0;
    for (int k = begin; k < end; ++k) {
      const float v = p == 0 ? row[k] : row[k] - lost_scale * (float)first[k];
      most = fmax(most, fabs(v));
    }
    const bool none = most < 0x1p-120f;
    const float factor = none ? 0.0f : divide(127.0f, most);
    const float unit = none ? 0.0f : divide(most, 127.0f);
    for (int from = begin; from < padded; from += step) {
      int total = 0;
      for (int k = from; k < min(padded, from + step); ++k) {
        char integer = 0;
        if (k < end) {
          const float v = p == 0 ? row[k] : row[k] - lost_scale * (float)first[k];
          integer = (char)clamp(rint(v * factor), -127.0f, 127.0f);
        }
        to[k] = integer;
        total += integer;
      }
      if (from >= cols) continue;
      WRITE(float, rounded_scale)[at * steps + from / step] = unit;
      WRITE(int, rounded_sum)[at * steps + from / step] = total;
    }
    lost_scale = unit;
  }
}

// What a work-group of `items` has made of rows of `cols` columns, to 8 bits, where that is asked
// for: rows from `row` on, and whole groups of columns from `column` on. All its work-items come
// here.
inline void round_made(ROWS_IN(made), int cols, int row, int rows, int column, int columns,
                       int item, int items, ROUNDED_OUT) {
  if (ABSENT(rounded)) return;
  barrier(CLK_GLOBAL_MEM_FENCE);
  const int begin = column / rounded_group, end = min(cols, column + columns);
  const int groups = (end + rounded_group - 1) / rounded_group - begin;
  for (int i = item; i < rows * groups; i += items) {
    const int t = row + i / groups;
    round_group(ROW_IN(made, t), cols, begin + i % groups, t, ROUNDED_VALUES);
  }
}
// The same where items are columns of row t, as many as a work-group has.
#define ROUND_COLUMNS(y, t, width)                                                           \
  round_made(y##_buffer, y##_at, y##_stride, width, t, 1, (int)(get_group_id(0) * get_local_size(0)), \
             (int)get_local_size(0), (int)get_local_id(0), (int)get_local_size(0), ROUNDED_VALUES)

// The sum of a work-group's pairs, the same in each of its `size` (a power of two) work-items.
inline Pair sum_of_group(Pair own, __local Pair* work, int item, int size) {
  barrier(CLK_LOCAL_MEM_FENCE);
  work[item] = own;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_size = size / 2; half_size > 0; half_size /= 2) {
    if (item < half_size) work[item] = pair_join(work[item], work[item + half_size]);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  return work[0];
}
