// What state space models carry along a sequence. Contracts: kernels/cpu/conv1d, kernels/cpu/scan.
// States are FP32. Of prompts, Mamba-2 and the delta rule go by chunks.cl but for few tokens.

// Item (c, t): a channel at a time. The state is that from before the call; of a call of one token
// it becomes here what it is after it.
__kernel void conv1d(ROWS_IN(x), IN(w), IN(bias), OUT(state), ROWS_OUT(y), int taps, int width,
                     ROUNDED_OUT) {
  const int c = get_global_id(0), t = get_global_id(1), past = taps - 1;
  if (c < width) {
    __global float* own = WRITE(float, state) + c;
    float sum = ABSENT(bias) ? 0.0f : READ(float, bias)[c];
    for (int j = 0; j < taps; ++j) {
      const int at = t - past + j;
      const float in = at < 0 ? own[(long)(at + past) * width] : ROW_IN(x, at)[c];
      sum = fma(READ(float, w)[(long)j * width + c], in, sum);
    }
    ROW_OUT(y, t)[c] = silu(sum);
    for (int j = 0; j < past && get_global_size(1) == 1; ++j)
      own[(long)j * width] = j + 1 < past ? own[(long)(j + 1) * width] : ROW_IN(x, 0)[c];
  }
  ROUND_COLUMNS(y, t, width);
}

// After one of several tokens. Oldest first, so that a slot is read before a later one overwrites it.
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
__kernel void short_conv(ROWS_IN(before), ROWS_IN(after), ROWS_IN(x), IN(w), IN(bias), OUT(state),
                         ROWS_OUT(y), int taps, int width, ROUNDED_OUT) {
  const int c = get_global_id(0), t = get_global_id(1), past = taps - 1;
  if (c < width) {
    __global float* own = WRITE(float, state) + c;
    float sum = ABSENT(bias) ? 0.0f : READ(float, bias)[c];
    for (int j = 0; j < taps; ++j) {
      const int at = t - past + j;
      const float in =
          at < 0 ? own[(long)(at + past) * width] : ROW_IN(before, at)[c] * ROW_IN(x, at)[c];
      sum = fma(READ(float, w)[(long)j * width + c], in, sum);
    }
    ROW_OUT(y, t)[c] = ROW_IN(after, t)[c] * sum;
    const float newest = ROW_IN(before, 0)[c] * ROW_IN(x, 0)[c];
    for (int j = 0; j < past && get_global_size(1) == 1; ++j)
      own[(long)j * width] = j + 1 < past ? own[(long)(j + 1) * width] : newest;
  }
  ROUND_COLUMNS(y, t, width);
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

// A work-group of scans: CHANNELS channels, each by SLICES work-items that share its states, and so
// many tokens between two barriers, each of which is one slice's where it is not the states'. Time is
// walked once for as many states as a work-group holds.
#define CHANNELS 16
#define SLICES 8
#define SCAN_GROUP __attribute__((reqd_work_group_size(CHANNELS, SLICES, 1)))

// Mamba-1. Item (c, slice): a channel. inner: the row length of a and the state. Its work-groups are
// wider, as a group of activations is.
#define HELD 2
#define WIDE 32
__attribute__((reqd_work_group_size(WIDE, SLICES, 1)))
__kernel void selective_scan(ROWS_IN(x), ROWS_IN(dt), IN(dt_bias), ROWS_IN(z), ROWS_IN(b),
                             ROWS_IN(c_in), IN(a), IN(d), OUT(state), ROWS_OUT(y), int tokens,
                             int inner, int states, int width, ROUNDED_OUT) {
  __local float steps[SLICES][WIDE], inputs[SLICES][WIDE];
  __local float parts[SLICES][SLICES][WIDE];
  const int lane = get_local_id(0), slice = get_local_id(1);
  const bool real = get_global_id(0) < width;
  const int c = min((int)get_global_id(0), width - 1);
  const float bias = READ(float, dt_bias)[c];
  for (int begin = 0; begin < states; begin += HELD * SLICES) {
    const int first = begin + HELD * slice, count = real ? clamp(states - first, 0, HELD) : 0;
    __global float* kept = WRITE(float, state) + (long)first * inner + c;
    float h[HELD], rate[HELD];
    for (int s = 0; s < HELD; ++s) {
      h[s] = s < count ? kept[(long)s * inner] : 0.0f;
      rate[s] = s < count ? READ(float, a)[(long)(first + s) * inner + c] : 0.0f;
    }
    for (int from = 0; from < tokens; from += SLICES) {
      const int own = min(from + slice, tokens - 1), some = min(SLICES, tokens - from);
      const float in = ROW_IN(x, own)[c], step = softplus(ROW_IN(dt, own)[c] + bias);
      steps[slice][lane] = step;
      inputs[slice][lane] = step * in;
      barrier(CLK_LOCAL_MEM_FENCE);
      for (int j = 0; j < some; ++j) {
        float sum = 0;
        for (int s = 0; s < HELD; ++s) {
          const int n = min(first + s, states - 1);
          h[s] = fma(exp_of(steps[j][lane] * rate[s]), h[s],
                     inputs[j][lane] * ROW_IN(b, from + j)[n]);
          sum = s < count ? fma(h[s], ROW_IN(c_in, from + j)[n], sum) : sum;
        }
        parts[slice][j][lane] = sum;
      }
      barrier(CLK_LOCAL_MEM_FENCE);
      if (real && slice < some) {
        float sum = begin == 0 ? READ(float, d)[c] * in : ROW_OUT(y, own)[c];
        for (int s = 0; s < SLICES; ++s) sum += parts[s][slice][lane];
        const bool last = begin + HELD * SLICES >= states;
        ROW_OUT(y, own)[c] = last ? sum * silu(ROW_IN(z, own)[c]) : sum;
      }
    }
    for (int s = 0; s < HELD; ++s)
      if (s < count) kept[(long)s * inner] = h[s];
  }
  round_made(y_buffer, y_at, y_stride, width, 0, tokens, WIDE * (int)get_group_id(0), WIDE,
             WIDE * slice + lane, WIDE * SLICES, ROUNDED_VALUES);
}
#undef HELD

// Mamba-2, with its time steps clamp(softplus(dt + bias), low, high). Item (c, slice): a channel of
// a head. The state is [heads][states][head_dim].
#define HELD 16
SCAN_GROUP
__kernel void ssd_scan(ROWS_IN(x), ROWS_IN(dt), IN(dt_bias), float low, float high, ROWS_IN(b),
                       ROWS_IN(c_in), IN(a), IN(d), OUT(state), ROWS_OUT(y), int tokens,
                       int head_dim, int group_heads, int states, int width) {
  __local float decays[SLICES][CHANNELS], inputs[SLICES][CHANNELS];
  __local float parts[SLICES][SLICES][CHANNELS];
  const int lane = get_local_id(0), slice = get_local_id(1);
  const bool real = get_global_id(0) < width;
  const int c = min((int)get_global_id(0), width - 1);
  const int h = c / head_dim, p = c % head_dim, group = h / group_heads;
  const float rate = READ(float, a)[h], skip = READ(float, d)[h], bias = READ(float, dt_bias)[h];
  for (int begin = 0; begin < states; begin += HELD * SLICES) {
    const int first = begin + HELD * slice, count = real ? clamp(states - first, 0, HELD) : 0;
    __global float* kept = WRITE(float, state) + ((long)h * states + first) * head_dim + p;
    float held[HELD];
    for (int s = 0; s < HELD; ++s) held[s] = s < count ? kept[(long)s * head_dim] : 0.0f;
    for (int from = 0; from < tokens; from += SLICES) {
      const int own = min(from + slice, tokens - 1), some = min(SLICES, tokens - from);
      const float in = ROW_IN(x, own)[c];
      const float step = clamp(softplus(ROW_IN(dt, own)[h] + bias), low, high);
      decays[slice][lane] = exp_of(step * rate);
      inputs[slice][lane] = step * in;
      barrier(CLK_LOCAL_MEM_FENCE);
      for (int j = 0; j < some; ++j) {
        const float decay = decays[j][lane], input = inputs[j][lane];
        __global const float* to_state = ROW_IN(b, from + j) + (long)group * states;
        __global const float* to_output = ROW_IN(c_in, from + j) + (long)group * states;
        float sum = 0;
        for (int s = 0; s < HELD; s += 4) {
          const float4 in_by = four_at(to_state, first + s, states);
          const float4 out_by = four_at(to_output, first + s, states);
          held[s] = fma(decay, held[s], input * in_by.x);
          held[s + 1] = fma(decay, held[s + 1], input * in_by.y);
          held[s + 2] = fma(decay, held[s + 2], input * in_by.z);
          held[s + 3] = fma(decay, held[s + 3], input * in_by.w);
          sum = fma(held[s], out_by.x, sum);
          sum = fma(held[s + 1], out_by.y, sum);
          sum = fma(held[s + 2], out_by.z, sum);
          sum = fma(held[s + 3], out_by.w, sum);
        }
        parts[slice][j][lane] = sum;
      }
      barrier(CLK_LOCAL_MEM_FENCE);
      if (real && slice < some) {
        float sum = begin == 0 ? skip * in : ROW_OUT(y, own)[c];
        for (int s = 0; s < SLICES; ++s) sum += parts[s][slice][lane];
        ROW_OUT(y, own)[c] = sum;
      }
    }
    for (int s = 0; s < HELD; ++s)
      if (s < count) kept[(long)s * head_dim] = held[s];
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

// The gated delta rule, token by token. Item (p, slice, h): a channel of a value head, and some of
// its states, k_dim of HELD * SLICES at most. The state is [heads][k_dim][v_dim]. decay:
// [rows][heads * decays], one for all channels of keys, or k_dim.
SCAN_GROUP
__kernel void delta_rule(ROWS_IN(q), ROWS_IN(k), ROWS_IN(v), ROWS_IN(factors), ROWS_IN(decay),
                         ROWS_IN(beta), OUT(state), ROWS_OUT(y), int tokens, int heads,
                         int key_heads, int tiled, int decays, int k_dim, int v_dim) {
  __local float seen_parts[SLICES][CHANNELS], sum_parts[SLICES][CHANNELS];
  const int lane = get_local_id(0), slice = get_local_id(1), h = get_global_id(2);
  const bool real = get_global_id(0) < v_dim;
  const int p = min((int)get_global_id(0), v_dim - 1);
  const int key_head = tiled ? h % key_heads : h / (heads / key_heads);
  const int first = HELD * slice, count = real ? clamp(k_dim - first, 0, HELD) : 0;
  __global float* own = WRITE(float, state) + ((long)h * k_dim + first) * v_dim + p;
  float held[HELD];
  for (int s = 0; s < HELD; ++s) held[s] = s < count ? own[(long)s * v_dim] : 0.0f;
  for (int t = 0; t < tokens; ++t) {
    __global const float* query = ROW_IN(q, t) + key_head * k_dim;
    __global const float* key = ROW_IN(k, t) + key_head * k_dim;
    __global const float* kept = ROW_IN(decay, t) + h * decays;
    const float to_query = ROW_IN(factors, t)[key_head];
    const float to_key = ROW_IN(factors, t)[key_heads + key_head];
    float keys[HELD], part = 0;
    for (int s = 0; s < HELD; ++s) {
      const int n = min(first + s, k_dim - 1);
      keys[s] = s < count ? key[n] * to_key : 0.0f;
      held[s] *= kept[decays == 1 ? 0 : n];
      part = fma(keys[s], held[s], part);
    }
    seen_parts[slice][lane] = part;
    barrier(CLK_LOCAL_MEM_FENCE);
    float seen = 0;
    for (int s = 0; s < SLICES; ++s) seen += seen_parts[s][lane];
    const float delta = ROW_IN(beta, t)[h] * (ROW_IN(v, t)[h * v_dim + p] - seen);
    part = 0;
    for (int s = 0; s < HELD; ++s) {
      const int n = min(first + s, k_dim - 1);
      held[s] = fma(keys[s], delta, held[s]);
      part = s < count ? fma(query[n] * to_query, held[s], part) : part;
    }
    sum_parts[slice][lane] = part;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (real && slice == 0) {
      float sum = 0;
      for (int s = 0; s < SLICES; ++s) sum += sum_parts[s][lane];
      ROW_OUT(y, t)[h * v_dim + p] = sum;
    }
  }
  for (int s = 0; s < HELD; ++s)
    if (s < count) own[(long)s * v_dim] = held[s];
}

// The same for any k_dim, with the state in global memory. Item (p, h).
__kernel void delta_rule_of_any(ROWS_IN(q), ROWS_IN(k), ROWS_IN(v), ROWS_IN(factors), ROWS_IN(decay),
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
