// What state space models carry along a sequence. Contracts: kernels/cpu/conv1d, kernels/cpu/scan.
// States are FP32.

// Item (c, t): a channel at a time. The state is that from before the call.
__kernel void conv1d(ROWS_IN(x), IN(w), IN(bias), IN(state), ROWS_OUT(y), int taps, int width) {
  const int c = get_global_id(0), t = get_global_id(1), past = taps - 1;
  if (c >= width) return;
  float sum = ABSENT(bias) ? 0.0f : READ(float, bias)[c];
  for (int j = 0; j < taps; ++j) {
    const int at = t - past + j;
    const float in =
        at < 0 ? READ(float, state)[(long)(at + past) * width + c] : ROW_IN(x, at)[c];
    sum = fma(READ(float, w)[(long)j * width + c], in, sum);
  }
  ROW_OUT(y, t)[c] = silu(sum);
}

// After it. Oldest first, so that a slot is read before a later one overwrites it.
__kernel void conv1d_state(ROWS_IN(x), int tokens, OUT(state), int taps, int width) {
  const int c = get_global_id(0), past = taps - 1;
  if (c >= width) return;
  __global float* own = WRITE(float, state) + c;
  for (int j = 0; j < past; ++j) {
    const int at = tokens - past + j;
    own[(long)j * width] = at < 0 ? own[(long)(at + past) * width] : ROW_IN(x, at)[c];
  }
}

// States that a work-item holds at a time; the time is walked once for each so many.
#define HELD 16

// Mamba-1. Item c: a channel. inner: the row length of a and the state.
__kernel void selective_scan(ROWS_IN(x), ROWS_IN(dt), ROWS_IN(z), ROWS_IN(b), ROWS_IN(c_in), IN(a),
                             IN(d), OUT(state), ROWS_OUT(y), int tokens, int inner, int states,
                             int width) {
  const int c = get_global_id(0);
  if (c >= width) return;
  for (int first = 0; first < states; first += HELD) {
    const int count = min(HELD, states - first);
    const bool last = first + HELD >= states;
    __global float* kept = WRITE(float, state) + (long)first * inner + c;
    float h[HELD], rate[HELD];
    for (int s = 0; s < HELD; ++s) {
      h[s] = s < count ? kept[(long)s * inner] : 0.0f;
      rate[s] = s < count ? READ(float, a)[(long)(first + s) * inner + c] : 0.0f;
    }
    for (int t = 0; t < tokens; ++t) {
      const float step = ROW_IN(dt, t)[c], in = ROW_IN(x, t)[c];
      const float input = step * in;
      float sum = first == 0 ? READ(float, d)[c] * in : ROW_OUT(y, t)[c];
      for (int s = 0; s < HELD; ++s) {
        const int n = first + min(s, count - 1);
        h[s] = fma(exp_of(step * rate[s]), h[s], input * ROW_IN(b, t)[n]);
        sum = s < count ? fma(h[s], ROW_IN(c_in, t)[n], sum) : sum;
      }
      ROW_OUT(y, t)[c] = last ? sum * silu(ROW_IN(z, t)[c]) : sum;
    }
    for (int s = 0; s < count; ++s) kept[(long)s * inner] = h[s];
  }
}

// Mamba-2. Item c: a channel of a head. The state is [heads][states][head_dim].
__kernel void ssd_scan(ROWS_IN(x), ROWS_IN(dt), ROWS_IN(b), ROWS_IN(c_in), IN(a), IN(d),
                       OUT(state), ROWS_OUT(y), int tokens, int head_dim, int group_heads,
                       int states, int width) {
  const int c = get_global_id(0);
  if (c >= width) return;
  const int h = c / head_dim, p = c % head_dim, group = h / group_heads;
  const float rate = READ(float, a)[h], skip = READ(float, d)[h];
  for (int first = 0; first < states; first += HELD) {
    const int count = min(HELD, states - first);
    __global float* kept = WRITE(float, state) + ((long)h * states + first) * head_dim + p;
    float held[HELD];
    for (int s = 0; s < HELD; ++s) held[s] = s < count ? kept[(long)s * head_dim] : 0.0f;
    for (int t = 0; t < tokens; ++t) {
      const float step = ROW_IN(dt, t)[h], in = ROW_IN(x, t)[c];
      const float decay = exp_of(step * rate), input = step * in;
      __global const float* from = ROW_IN(b, t) + (long)group * states + first;
      __global const float* to = ROW_IN(c_in, t) + (long)group * states + first;
      float sum = first == 0 ? skip * in : ROW_OUT(y, t)[c];
      for (int s = 0; s < HELD; ++s) {
        const int n = min(s, count - 1);
        held[s] = fma(decay, held[s], input * from[n]);
        sum = s < count ? fma(held[s], to[n], sum) : sum;
      }
      ROW_OUT(y, t)[c] = sum;
    }
    for (int s = 0; s < count; ++s) kept[(long)s * head_dim] = held[s];
  }
}
