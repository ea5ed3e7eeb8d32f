// Root mean square norms. A work-group of ITEMS work-items takes one part of one row: group (part,
// row). Contract: kernels/cpu/norm/rms_norm.h.
#define ITEMS 64

// 1 / sqrt(mean + epsilon) of what the work-group's squares add up to.
inline float norm_factor(Pair squares, int cols, float epsilon, __local Pair* work, int item) {
  const Pair sum = sum_of_group(squares, work, item, ITEMS);
  const float mean = divide(sum.x + sum.y, (float)cols);
  return divide(1.0f, root(mean + epsilon));
}

inline float gate_of(float v, int of_sigmoid) { return of_sigmoid ? sigmoid(v) : silu(v); }

// What a part of a row became, to 8 bits, where that is asked for.
#define ROUND_PART                                                                          \
  round_made(y_buffer, y_at, y_stride, cols * (int)get_num_groups(0), t, 1, cols * part, cols, item, \
             ITEMS, ROUNDED_VALUES)

// y = norm(x), where x becomes base + by * more if there is any; or base with `more` beside it, from
// column `beside` on, if that is one. by_part: each part has its own weights.
__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
__kernel void rms_norm(ROWS_OUT(x), ROWS_IN(base), ROWS_IN(more), float by, int beside, ROWS_OUT(y),
                       IN(weight), int by_part, int cols, float epsilon, ROUNDED_OUT) {
  __local Pair work[ITEMS];
  const int item = get_local_id(0), part = get_group_id(0), t = get_group_id(1);
  __global float* from = ROW_OUT(x, t) + part * cols;
  __global float* to = ROW_OUT(y, t) + part * cols;
  if (!ABSENT(more)) {
    __global const float* first = ROW_IN(base, t) + part * cols;
    __global const float* second = ROW_IN(more, t) + part * cols;
    for (int i = item; i < cols; i += ITEMS) {
      if (beside == 0)
        from[i] = first[i] + by * second[i];
      else
        from[i] = i < beside ? first[i] : second[i - beside];
    }
  }
  Pair squares = 0;
  for (int i = item; i < cols; i += ITEMS) squares = pair_add_product(squares, from[i], from[i]);
  const float factor = norm_factor(squares, cols, epsilon, work, item);
  const int first = by_part ? part * cols : 0;
  for (int i = item; i < cols; i += ITEMS) {
    const float normed = from[i] * factor;
    to[i] = ABSENT(weight) ? normed : normed * READ(float, weight)[first + i];
  }
  ROUND_PART;
}

// y = norm(silu(gate) y), or silu(gate) norm(y) where gate_last; or sigmoid(gate) in place of silu.
__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
__kernel void gated_norm(ROWS_IN(gate), ROWS_OUT(y), IN(weight), int cols, float epsilon,
                         int gate_last, int of_sigmoid, ROUNDED_OUT) {
  __local Pair work[ITEMS];
  const int item = get_local_id(0), part = get_group_id(0), t = get_group_id(1);
  __global const float* gates = ROW_IN(gate, t) + part * cols;
  __global float* row = ROW_OUT(y, t) + part * cols;
  Pair squares = 0;
  for (int i = item; i < cols; i += ITEMS) {
    const float v = gate_last ? row[i] : gate_of(gates[i], of_sigmoid) * row[i];
    squares = pair_add_product(squares, v, v);
  }
  const float factor = norm_factor(squares, cols, epsilon, work, item);
  for (int i = item; i < cols; i += ITEMS) {
    const float gated = gate_of(gates[i], of_sigmoid);
    const float v = (gate_last ? row[i] : gated * row[i]) * factor;
    const float weighted = ABSENT(weight) ? v : v * READ(float, weight)[part * cols + i];
    row[i] = gate_last ? gated * weighted : weighted;
  }
  ROUND_PART;
}
