// What logits are reduced to: a work-group of ITEMS for a row. Contract:
// kernels/cpu/divergence/divergence.h, whose terms these are.
#define ITEMS 128

// stats[row] = (max, sum of e^(z - max) in two floats).
__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
__kernel void normaliser(ROWS_IN(z), int vocab, OUT(stats)) {
  __local Pair work[ITEMS];
  __local float greatest[ITEMS];
  const int item = get_local_id(0), t = get_group_id(0);
  __global const float* row = ROW_IN(z, t);
  float own = row[0];
  for (int i = item; i < vocab; i += ITEMS) own = fmax(own, row[i]);
  greatest[item] = own;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int j = 0; j < ITEMS; ++j) own = fmax(own, greatest[j]);
  Pair sum = 0;
  for (int i = item; i < vocab; i += ITEMS) sum = pair_add(sum, exp_of(row[i] - own));
  sum = sum_of_group(sum, work, item, ITEMS);
  if (item == 0) vstore3((float3)(own, sum.x, sum.y), t, WRITE(float, stats));
}

// sums[row] = KL(p || q), KL(q || p), sum (z - zq)^2, sum z^2, each in two floats.
__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
__kernel void divergence(ROWS_IN(z), ROWS_IN(zq), IN(z_stats), IN(zq_stats), int vocab,
                         OUT(sums)) {
  __local Pair work[ITEMS];
  const int item = get_local_id(0), t = get_group_id(0);
  const float3 of_p = vload3(t, READ(float, z_stats)), of_q = vload3(t, READ(float, zq_stats));
  const float inverse_p = divide(1.0f, of_p.y), inverse_q = divide(1.0f, of_q.y);
  // lse_p - lse_q; an error of it shows squared.
  const float more = divide((of_p.y - of_q.y) + (of_p.z - of_q.z), of_q.y);
  const float delta = (of_p.x - of_q.x) + log1p(more);
  Pair kl = 0, reverse = 0, error = 0, squared = 0;
  for (int i = item; i < vocab; i += ITEMS) {
    const float at_p = ROW_IN(z, t)[i], at_q = ROW_IN(zq, t)[i], d = at_p - at_q;
    const float p = exp_of(at_p - of_p.x) * inverse_p, q = exp_of(at_q - of_q.x) * inverse_q;
    const float u = d - delta, u2 = u * u;
    float even = 1.0f / 40320, odd = 1.0f / 5040;
    even = fma(even, u2, 1.0f / 720);
    even = fma(even, u2, 1.0f / 24);
    even = fma(even, u2, 0.5f);
    odd = fma(odd, u2, 1.0f / 120);
    odd = fma(odd, u2, 1.0f / 6);
    odd *= u;
    const bool near = u2 < 0.25f;
    kl = pair_add(kl, near ? p * (u2 * (even - odd)) : fma(p, u, q - p));
    reverse = pair_add(reverse, near ? q * (u2 * (even + odd)) : fma(-q, u, p - q));
    error = pair_add_product(error, d, d);
    squared = pair_add_product(squared, at_p, at_p);
  }
  kl = sum_of_group(kl, work, item, ITEMS);
  reverse = sum_of_group(reverse, work, item, ITEMS);
  error = sum_of_group(error, work, item, ITEMS);
  squared = sum_of_group(squared, work, item, ITEMS);
  if (item == 0)
    vstore8((float8)(kl, reverse, error, squared), t, WRITE(float, sums));
}
