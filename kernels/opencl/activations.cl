// Activations to 8 bits. Contract: kernels/cpu/activations/quantize_activations.h, in every bit.

// Item (g, t): a group of a row.
__kernel void quantise(ROWS_IN(x), int cols, ROUNDED_OUT, int width) {
  const int g = get_global_id(0), t = get_global_id(1);
  if (g < width) round_group(ROW_IN(x, t), cols, g, t, ROUNDED_VALUES);
}
