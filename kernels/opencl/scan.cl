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

// The same of products before * x, without activation, and with a factor after it.
__kernel void short_conv(ROWS_IN(before), ROWS_IN(after), ROWS_IN(x), IN(w), IN(bias), IN(state),
                         ROWS_OUT(y), int taps, int width) {
  const int c = get_global_id(0), t = get_global_id(1), past = taps - 1;
  if (c >= width) return;
  float sum = ABSENT(bias) ? 0.0f : READ(float, bias)[c];
  for (int j = 0; j < taps; ++j) {
    const int at = t - past + j;
    const float in = at < 0 ? READ(float, state)[(long)(at + past) * width + c]
                            : ROW_IN(before, at)[c] * ROW_IN(x, at)[c];
    sum = fma(READ(float, w)[(long)j * width + c], in, sum);
  }
  ROW_OUT(y, t)[c] = ROW_IN(after, t)[c] * sum;
}

__kernel void short_conv_state(ROWS_IN(before), ROWS_IN(x), int tokens, OUT(state), int taps,
                               int width) {
  const int c = get_global_id(0), past = taps - 1;
  if (c >= width) return;
  __global float* own = WRITE(float, state) + c;
  for (int j = 0; j < past; ++j) {
    const int at = tokens - past + j;
    own[(long)j * width] = at < 0 ? own[(long)(at + past) * width]
                                  : ROW_IN(before, at)[c] * ROW_IN(x, at)[c];
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

// What makes a head's q and k of unit length, the former by 1 / sqrt(k_dim) too. Item (h, t): a
// key head of a row. factors: [rows][2 * width], q's first.
__kernel void delta_lengths(ROWS_IN(q), ROWS_IN(k), int k_dim, ROWS_OUT(factors), int width) {
  const int h = get_global_id(0), t = get_global_id(1);
  if (h >= width) return;
  __global const float* query = ROW_IN(q, t) + h * k_dim;
  __global const float* key = ROW_IN(k, t) + h * k_dim;
  Pair of_query = 0, of_key = 0;
  for (int n = 0; n < k_dim; ++n) {
    of_query = pair_add_product(of_query, query[n], query[n]);
    of_key = pair_add_product(of_key, key[n], key[n]);
  }
  const float to_query = divide(1.0f, root(of_query.x + of_query.y + 1e-6f));
  ROW_OUT(factors, t)[h] = divide(to_query, root((float)k_dim));
  ROW_OUT(factors, t)[width + h] = divide(1.0f, root(of_key.x + of_key.y + 1e-6f));
}

// The gated delta rule, token by token. Item (p, h): a channel of a value head. The state is
// [heads][k_dim][v_dim]. decay: [rows][heads * decays], one for all channels of keys, or k_dim.
__kernel void delta_rule(ROWS_IN(q), ROWS_IN(k), ROWS_IN(v), ROWS_IN(factors), ROWS_IN(decay),
                         ROWS_IN(beta), OUT(state), ROWS_OUT(y), int tokens, int heads,
                         int key_heads, int tiled, int decays, int k_dim, int v_dim) {
  const int p = get_global_id(0), h = get_global_id(1);
  if (p >= v_dim) return;
  const int key_head = tiled ? h % key_heads : h / (heads / key_heads);
  __global float* own = WRITE(float, state) + (long)h * k_dim * v_dim + p;
  for (int t = 0; t < tokens; ++t) {
    __global const float* query = ROW_IN(q, t) + key_head * k_dim;
    __global const float* key = ROW_IN(k, t) + key_head * k_dim;
    __global const float* kept = ROW_IN(decay, t) + h * decays;
    const float to_query = ROW_IN(factors, t)[key_head];
    const float to_key = ROW_IN(factors, t)[key_heads + key_head];
    float seen = 0;
    for (int n = 0; n < k_dim; ++n)
      seen = fma(key[n] * to_key, kept[decays == 1 ? 0 : n] * own[(long)n * v_dim], seen);
    const float delta = ROW_IN(beta, t)[h] * (ROW_IN(v, t)[h * v_dim + p] - seen);
    float sum = 0;
    for (int n = 0; n < k_dim; ++n) {
      const float decayed = kept[decays == 1 ? 0 : n] * own[(long)n * v_dim];
      const float next = fma(key[n] * to_key, delta, decayed);
      own[(long)n * v_dim] = next;
      sum = fma(query[n] * to_query, next, sum);
    }
    ROW_OUT(y, t)[h * v_dim + p] = sum;
  }
}
