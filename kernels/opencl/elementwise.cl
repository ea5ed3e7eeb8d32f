// What moves, joins or changes rows element by element. Item (c, t): column c of row t.
// Contracts: kernels/cpu/elementwise.

#define COLUMN const int c = get_global_id(0), t = get_global_id(1); if (c >= width) return

__kernel void fill_zeros(ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = 0;
}

__kernel void copy_rows(ROWS_IN(x), ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = ROW_IN(x, t)[c];
}

__kernel void scale(ROWS_IN(x), float by, ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = ROW_IN(x, t)[c] * by;
}

__kernel void scale_columns(ROWS_OUT(x), IN(by), int width) {
  COLUMN;
  ROW_OUT(x, t)[c] *= READ(float, by)[c];
}

// y = base + by * x
__kernel void add_scaled(ROWS_IN(base), ROWS_IN(x), float by, ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = ROW_IN(base, t)[c] + by * ROW_IN(x, t)[c];
}

__kernel void mean(ROWS_IN(a), ROWS_IN(b), ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = 0.5f * (ROW_IN(a, t)[c] + ROW_IN(b, t)[c]);
}

// y is what begins at `first` in each group of `group` columns, `part` of them.
__kernel void deinterleave(ROWS_IN(x), int group, int first, int part, ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = ROW_IN(x, t)[c / part * group + first + c % part];
}

__kernel void gather(ROWS_IN(x), IN(rows), ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = ROW_IN(x, READ(int, rows)[t])[c];
}

__kernel void scatter_add(ROWS_IN(x), IN(rows), IN(by), ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, READ(int, rows)[t])[c] += READ(float, by)[t] * ROW_IN(x, t)[c];
}

// y[t] += the `planes` rows of x from t planes on, in their order; and the bias.
__kernel void sum_planes(ROWS_IN(x), int planes, IN(bias), ROWS_OUT(y), int width) {
  COLUMN;
  float sum = ROW_IN(x, t * planes)[c];
  for (int p = 1; p < planes; ++p) sum += ROW_IN(x, t * planes + p)[c];
  if (!ABSENT(bias)) sum += READ(float, bias)[c];
  ROW_OUT(y, t)[c] = sum;
}

__kernel void negate_exp(ROWS_OUT(x), int width) {
  COLUMN;
  ROW_OUT(x, t)[c] = -exp_of(ROW_IN(x, t)[c]);
}

// exp(rate softplus(x + bias)); a rate is that of `each` columns.
__kernel void decays(ROWS_IN(x), IN(bias), IN(rate), int each, ROWS_OUT(y), int width) {
  COLUMN;
  const float step = softplus(ROW_IN(x, t)[c] + READ(float, bias)[c]);
  ROW_OUT(y, t)[c] = exp_of(step * READ(float, rate)[c / each]);
}

__kernel void scale_sigmoid(ROWS_IN(x), float by, ROWS_OUT(y), int width) {
  COLUMN;
  ROW_OUT(y, t)[c] = by * sigmoid(ROW_IN(x, t)[c]);
}

// activation: 0 silu, 1 gelu, 2 relu^2
inline float activated(int activation, float v) {
  if (activation == 0) return silu(v);
  if (activation == 1) return gelu(v);
  const float positive = v <= 0 ? 0.0f : v;
  return positive * positive;
}

// These give their rows in 8 bits, too, where that is asked for.
__kernel void activate(ROWS_IN(x), int activation, ROWS_OUT(y), int width, ROUNDED_OUT) {
  const int c = get_global_id(0), t = get_global_id(1);
  if (c < width) ROW_OUT(y, t)[c] = activated(activation, ROW_IN(x, t)[c]);
  ROUND_COLUMNS(y, t, width);
}

// x: the gate, and `width` columns on what it gates.
__kernel void activate_gated(ROWS_IN(x), int activation, float gate_scale, ROWS_OUT(y), int width,
                             ROUNDED_OUT) {
  const int c = get_global_id(0), t = get_global_id(1);
  __global const float* row = ROW_IN(x, t);
  if (c < width) ROW_OUT(y, t)[c] = activated(activation, gate_scale * row[c]) * row[width + c];
  ROUND_COLUMNS(y, t, width);
}

__kernel void gate(ROWS_IN(g), int of_sigmoid, ROWS_OUT(y), int width, ROUNDED_OUT) {
  const int c = get_global_id(0), t = get_global_id(1);
  if (c < width) {
    const float v = ROW_IN(g, t)[c];
    ROW_OUT(y, t)[c] *= of_sigmoid ? sigmoid(v) : silu(v);
  }
  ROUND_COLUMNS(y, t, width);
}

// sums[c] += x[t][c]^2, in the order of t.
__kernel void add_squares(ROWS_IN(x), int tokens, OUT(sums), int width) {
  const int c = get_global_id(0);
  if (c >= width) return;
  float sum = WRITE(float, sums)[c];
  for (int i = 0; i < tokens; ++i) {
    const float v = ROW_IN(x, i)[c];
    sum += v * v;
  }
  WRITE(float, sums)[c] = sum;
}

// factors[t] = 1 / rms(x[t]), 0 for a row of zeros: one work-item a row.
__kernel void unit_factors(ROWS_IN(x), int cols, OUT(factors), int width) {
  const int c = get_global_id(0);
  if (c >= width) return;
  Pair squares = 0;
  for (int i = 0; i < cols; ++i) {
    const float v = ROW_IN(x, c)[i];
    squares = pair_add_product(squares, v, v);
  }
  const float sum = squares.x + squares.y;
  WRITE(float, factors)[c] = sum > 0 ? root(divide((float)cols, sum)) : 0.0f;
}

// sums[i][j] += sum over t of x[t][i] x[t][j] factors[t]^2, for j <= i.
__kernel void add_products(ROWS_IN(x), IN(factors), int tokens, ROWS_OUT(sums), int width) {
  COLUMN;  // c: j, t: i
  if (c > t) return;
  float sum = 0;
  for (int row = 0; row < tokens; ++row) {
    const float by = READ(float, factors)[row];
    sum = fma(ROW_IN(x, row)[t] * by, ROW_IN(x, row)[c] * by, sum);
  }
  ROW_OUT(sums, t)[c] += sum;
}
