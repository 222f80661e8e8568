/* The inner loops of training on a CPU, in float32. library.py compiles this file, functions.py calls it.

   A `vec` fills a register of AVX-512, or else one of AVX2; where registers are narrower still, the compiler splits it.
   Sizes that a comment calls whole are multiples of 16. Sums have a fixed order, whatever the number of threads. NaN in
   gives NaN out. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
enum { L = 16, TILE = 8 }; /* floats of a vec, and rows of a product whose sums fit the registers */
#define EACH(lane) lane(0), lane(2), lane(4), lane(6), lane(8), lane(10), lane(12), lane(14)
#else
enum { L = 8, TILE = 5 };
#define EACH(lane) lane(0), lane(2), lane(4), lane(6)
#endif
typedef float vec __attribute__((vector_size(4 * L), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * L), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec x) { *(vec *)p = x; }
INLINE vec all(float x) { return x - (vec){0}; }
INLINE vec choose(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
INLINE vec at_least(vec x, vec low) { return choose(low > x, low, x); }  /* NaN stays, here and below */
INLINE vec at_most(vec x, vec high) { return choose(high < x, high, x); }
#define ITSELF(i) i, i + 1
#define EVEN(i) i, i
#define ODD(i) i + 1, i + 1
#define SWAPPED(i) i + 1, i
#define SIGNS(i) -1, 1
static const ivec LANES = {EACH(ITSELF)};

INLINE float sum(vec x) {
    float total = 0;
    for (int i = 0; i < L; i++) total += x[i];
    return total;
}

/* exp(x) = 2^n exp(r), x = n ln 2 + r, with the polynomial of the Cephes library for exp(r): 2 units in the last place.
   Beyond -87 and 88, where float32 ends, it returns the value there. */
INLINE vec vexp(vec x) {
    x = at_most(at_least(x, all(-87)), all(88));
    vec y = x * 1.44269504f;
    ivec n = __builtin_convertvector(y + choose(y < 0, all(-.5f), all(.5f)), ivec);
    vec whole = __builtin_convertvector(n, vec), r = x - whole * .693359375f - whole * -2.12194440e-4f;
    vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = ((p * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * (r * r) + r + 1) * (vec)((n + 127) << 23);
}

/* ---- Products of small matrices: C (+)= A B, with A[r, k] at a[r * ra + k * ka] and rows of B and C one after another.

   The sums stay in registers: `rows` x `vecs` of them, both constants at every call. */
INLINE void product_of_rows(const int rows, const int vecs, long n, const float *a, long ra, long ka, const float *b,
                            long lb, float *c, long lc, int add) {
    vec sums[16];
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) sums[r * vecs + v] = add ? load(c + r * lc + v * L) : all(0);
    for (long k = 0; k < n; k++) {
        vec row[2];
        #pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) row[v] = load(b + k * lb + v * L);
        #pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            float x = a[r * ra + k * ka];
            #pragma GCC unroll 2
            for (int v = 0; v < vecs; v++) sums[r * vecs + v] += x * row[v];
        }
    }
    #pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        #pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) store(c + r * lc + v * L, sums[r * vecs + v]);
}

INLINE void product_of_columns(const int vecs, long m, long n, const float *a, long ra, long ka, const float *b, long lb,
                               float *c, long lc, int add) {
    long r = 0;
    for (; r + TILE <= m; r += TILE) product_of_rows(TILE, vecs, n, a + r * ra, ra, ka, b, lb, c + r * lc, lc, add);
    for (; r < m; r++) product_of_rows(1, vecs, n, a + r * ra, ra, ka, b, lb, c + r * lc, lc, add);
}

/* A is m x n, B is n x width; width is whole. */
INLINE void product(long m, long n, long width, const float *a, long ra, long ka, const float *b, long lb, float *c,
                    long lc, int add) {
    long x = 0;
    for (; x + 2 * L <= width; x += 2 * L) product_of_columns(2, m, n, a, ra, ka, b + x, lb, c + x, lc, add);
    for (; x < width; x += L) product_of_columns(1, m, n, a, ra, ka, b + x, lb, c + x, lc, add);
}

/* ---- Attention, a head and W queries (forward) or W keys (backward) at a time. All tensors are [batch, time, heads, d]
   and d is whole; log_sums is [batch, heads, time]. Scores are computed anew in the backward pass (arXiv 2205.14135). */

enum { W = 2 * L };

static float *scratch(long n) { return aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64); }

static void scale_rows(const float *from, long ld, float *to, long rows, long d, float scale) {
    for (long r = 0; r < rows; r++)
        for (long x = 0; x < d; x += L) store(to + r * d + x, load(from + r * ld + x) * scale);
}

static void transpose(const float *from, long ld, long rows, long d, float *to) { /* to is [d, W], padded by 0 */
    if (rows < W) memset(to, 0, d * W * sizeof(float));
    for (long r = 0; r < rows; r++)
        for (long x = 0; x < d; x++) to[x * W + r] = from[r * ld + x];
}

void attention_forward(const float *q, const float *k, const float *v, float *out, float *log_sums, long batch,
                       long time, long heads, long d, float scale, int threads) {
    const long ld = heads * d;
    #pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *columns = scratch(d * W), *scaled = scratch(W * d), *s = scratch(time * W);
        #pragma omp for
        for (long head = 0; head < batch * heads; head++) {
            const long at = head / heads * time * ld + head % heads * d;
            for (long start = 0; start < time; start += W) {
                const long w = time - start < W ? time - start : W, end = start + w;
                const float *values = v + at;
                float *outputs = out + at + start * ld;
                scale_rows(q + at + start * ld, ld, scaled, w, d, scale);
                transpose(scaled, d, w, d, columns);
                product(end, d, W, k + at, ld, 1, columns, W, s, W, 0); /* [keys, queries] */
                vec top[2] = {all(-INFINITY), all(-INFINITY)}, total[2] = {all(0), all(0)};
                for (long j = 0; j < end; j++)
                    for (int u = 0; u < 2; u++) {
                        vec x = load(s + j * W + u * L);
                        if (j > start) x = choose(LANES + u * L < (int)(j - start), all(-INFINITY), x);
                        top[u] = at_least(top[u], x);
                    }
                for (long j = 0; j < end; j++)
                    for (int u = 0; u < 2; u++) {
                        vec e = vexp(load(s + j * W + u * L) - top[u]);
                        if (j > start) e = choose(LANES + u * L < (int)(j - start), all(0), e);
                        total[u] += e;
                        store(s + j * W + u * L, e);
                    }
                product(w, end, d, s, 1, W, values, ld, outputs, ld, 0);
                for (long i = 0; i < w; i++) {
                    float sum_i = total[i / L][i % L];
                    log_sums[head * time + start + i] = top[i / L][i % L] + logf(sum_i);
                    for (long x = 0; x < d; x += L) store(outputs + i * ld + x, load(outputs + i * ld + x) / sum_i);
                }
            }
        }
        free(columns), free(scaled), free(s);
    }
}

void attention_backward(const float *q, const float *k, const float *v, const float *out, const float *log_sums,
                        const float *d_out, float *dq, float *dk, float *dv, long batch, long time, long heads, long d,
                        float scale, int threads) {
    const long ld = heads * d;
    #pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *scaled = scratch(time * d), *row_sums = scratch(time), *keys = scratch(d * W), *values = scratch(d * W);
        float *rows = scratch(W * d), *p = scratch(time * W), *ds = scratch(time * W), *dqs = scratch(time * d);
        #pragma omp for
        for (long head = 0; head < batch * heads; head++) {
            const long at = head / heads * time * ld + head % heads * d;
            scale_rows(q + at, ld, scaled, time, d, scale);
            memset(dqs, 0, time * d * sizeof(float));
            for (long i = 0; i < time; i++) {
                vec s = all(0);
                for (long x = 0; x < d; x += L) s += load(d_out + at + i * ld + x) * load(out + at + i * ld + x);
                row_sums[i] = sum(s);
            }
            for (long start = 0; start < time; start += W) { /* keys from start; queries from start to the end */
                const long w = time - start < W ? time - start : W, n = time - start, here = at + start * ld;
                const float *sums = log_sums + head * time + start;
                memset(rows, 0, W * d * sizeof(float));
                scale_rows(k + here, ld, rows, w, d, 1);
                transpose(k + here, ld, w, d, keys);
                transpose(v + here, ld, w, d, values);
                product(n, d, W, scaled + start * d, d, 1, keys, W, p, W, 0);
                product(n, d, W, d_out + here, ld, 1, values, W, ds, W, 0);
                for (long i = 0; i < n; i++)
                    for (int u = 0; u < 2; u++) {
                        vec e = vexp(load(p + i * W + u * L) - sums[i]);
                        if (i < W) e = choose(LANES + u * L > (int)i, all(0), e);
                        store(p + i * W + u * L, e);
                        store(ds + i * W + u * L, e * (load(ds + i * W + u * L) - row_sums[start + i]));
                    }
                product(w, n, d, p, 1, W, d_out + here, ld, dv + here, ld, 0);
                product(w, n, d, ds, 1, W, scaled + start * d, d, dk + here, ld, 0);
                product(n, W, d, ds, W, 1, rows, d, dqs + start * d, d, 1);
            }
            for (long i = 0; i < time; i++)
                for (long x = 0; x < d; x += L) store(dq + at + i * ld + x, load(dqs + i * d + x) * scale);
        }
        free(scaled), free(row_sums), free(keys), free(values), free(rows), free(p), free(ds), free(dqs);
    }
}

/* ---- The rest: one pass over memory each. */

/* x, y [batch, time, heads, d]; the pairs of x times `turns` [time, d], cosines and sines side by side; d is whole. */
void turn_pairs(const float *x, const float *turns, float *y, long batch, long time, long heads, long d, float sign,
                int threads) {
    vec signs = sign * (vec){EACH(SIGNS)};
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < batch * time; row++)
        for (long i = row * heads * d, end = i + heads * d, c = 0; i < end; i += L, c = (c + L) % d) {
            vec z = load(x + i), t = load(turns + row % time * d + c);
            vec cosines = __builtin_shufflevector(t, t, EACH(EVEN));
            vec sines = __builtin_shufflevector(t, t, EACH(ODD));
            vec swapped = __builtin_shufflevector(z, z, EACH(SWAPPED));
            store(y + i, z * cosines + swapped * sines * signs);
        }
}

/* y = silu(gate) up; n is whole. */
void swiglu_forward(const float *gate, const float *up, float *y, long n, int threads) {
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long i = 0; i < n; i += L) {
        vec g = load(gate + i);
        store(y + i, g / (1 + vexp(-g)) * load(up + i));
    }
}

void swiglu_backward(const float *gate, const float *up, const float *dy, float *d_gate, float *d_up, long n,
                     int threads) {
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long i = 0; i < n; i += L) {
        vec g = load(gate + i), s = 1 / (1 + vexp(-g)), d = load(dy + i);
        store(d_up + i, d * (g * s));
        store(d_gate + i, d * load(up + i) * (s + g * s * (1 - s)));
    }
}

/* y = x r weight with r = 1 / sqrt(mean(x²) + eps), for rows of d floats; d is whole. */
void rms_norm_forward(const float *x, const float *weight, float *y, float *r, long rows, long d, float eps,
                      int threads) {
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        vec squares = all(0);
        for (long i = row * d; i < (row + 1) * d; i += L) squares += load(x + i) * load(x + i);
        r[row] = 1 / sqrtf(sum(squares) / d + eps);
        for (long i = 0; i < d; i += L) store(y + row * d + i, load(x + row * d + i) * r[row] * load(weight + i));
    }
}

/* d_weight is [ceil(rows / block), d]: a sum for each block of rows, whichever thread has it. */
void rms_norm_backward(const float *x, const float *weight, const float *r, const float *dy, float *dx, float *d_weight,
                       long rows, long d, long block, int threads) {
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long start = 0; start < rows; start += block) {
        float *dw = d_weight + start / block * d;
        memset(dw, 0, d * sizeof(float));
        for (long row = start; row < start + block && row < rows; row++) {
            const long at = row * d;
            vec s = all(0);
            for (long i = 0; i < d; i += L) {
                vec t = load(dy + at + i) * (load(x + at + i) * r[row]);
                store(dw + i, load(dw + i) + t);
                s += t * load(weight + i);
            }
            float mean = sum(s) / d * r[row];
            for (long i = 0; i < d; i += L)
                store(dx + at + i, (load(dy + at + i) * load(weight + i) - load(x + at + i) * mean) * r[row]);
        }
    }
}

/* losses = -log softmax(x)[target] for rows of d logits, which become (softmax - onehot) scale; d is whole. */
void cross_entropy_rows(float *x, const int64_t *targets, float *losses, long rows, long d, float scale, int threads) {
    #pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        float *z = x + row * d, top = -INFINITY;
        vec tops = load(z), sums = all(0);
        for (long i = L; i < d; i += L) tops = at_least(tops, load(z + i));
        for (int i = 0; i < L; i++) top = tops[i] > top ? tops[i] : top;
        float target = z[targets[row]] - top;
        for (long i = 0; i < d; i += L) {
            vec e = vexp(load(z + i) - top);
            sums += e;
            store(z + i, e);
        }
        float total = sum(sums), factor = scale / total;
        losses[row] = logf(total) - target;
        for (long i = 0; i < d; i += L) store(z + i, load(z + i) * factor);
        z[targets[row]] -= scale;
    }
}

/* A step of AdamW for n numbers: p = decay p - rate m / (sqrt(v) / root + eps). */
void adamw_step(float *restrict p, const float *restrict grad, float *restrict m, float *restrict v, long n,
                float decay, float beta_1, float beta_2, float root, float eps, float rate, int threads) {
    #pragma omp parallel for simd num_threads(threads) if (threads > 1)
    for (long i = 0; i < n; i++) {
        float g = grad[i];
        m[i] += (1 - beta_1) * (g - m[i]);
        v[i] = v[i] * beta_2 + (1 - beta_2) * g * g;
        p[i] = p[i] * decay - rate * m[i] / (sqrtf(v[i]) / root + eps);
    }
}
