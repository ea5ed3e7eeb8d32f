// Activations to 8 bits. Contract: kernels/cpu/activations/quantize_activations.h, in every bit.

// Item (g, t): a group of a row. Plane p of row t is row t * planes + p of q, scale and sum. planes
// is 1 or 2; the second has what the first lost.
__kernel void quantise(ROWS_IN(x), int cols, int group, int step, int planes, OUT(q), int q_stride,
                       OUT(scale), OUT(sum), int width) {
  const int g = get_global_id(0), t = get_global_id(1);
  if (g >= width) return;
  const int begin = g * group, end = min(cols, begin + group);
  const int padded = min((cols + 31) / 32 * 32, begin + group), steps = (cols + step - 1) / step;
  __global const float* row = ROW_IN(x, t);
  float lost_scale = 0;
  for (int p = 0; p < planes; ++p) {
    const long at = (long)t * planes + p;
    __global char* to = WRITE(char, q) + at * q_stride;
    __global const char* first = to - q_stride;  // of the plane before, where there is one
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
        char rounded = 0;
        if (k < end) {
          const float v = p == 0 ? row[k] : row[k] - lost_scale * (float)first[k];
          rounded = (char)clamp(rint(v * factor), -127.0f, 127.0f);
        }
        to[k] = rounded;
        total += rounded;
      }
      if (from >= cols) continue;
      WRITE(float, scale)[at * steps + from / step] = unit;
      WRITE(int, sum)[at * steps + from / step] = total;
    }
    lost_scale = unit;
  }
}
