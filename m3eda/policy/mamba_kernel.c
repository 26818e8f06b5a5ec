/* The last output of a Mamba block over embedded scalars, and its gradients; docs/mamba.md.
 *
 * Compiled for one shape: D_INNER, D_STATE, DT_RANK, D_CONV are given as flags, DOUBLE for double
 * precision. Vectors run over channels, which are padded with zeros to whole ones; tokens in front
 * of a sequence are never touched. Nothing is shared between calls, and sums are always taken in
 * the same order: the same numbers give the same bits.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#ifdef DOUBLE
typedef double real;
typedef int64_t whole;
#else
typedef float real;
typedef int32_t whole;
#endif
#if defined(__AVX512DQ__) && !defined(DOUBLE)
#define QUICK
#endif
typedef real vec __attribute__((vector_size(BYTES)));
typedef whole wvec __attribute__((vector_size(BYTES)));

#define LANES ((int)(BYTES / sizeof(real)))
#define NV ((D_INNER + LANES - 1) / LANES)
#define DP (NV * LANES)
#define READ (DT_RANK + D_STATE)       /* what x_proj gives that every token needs: dt, B */
#define PROJECTED (READ + D_STATE)     /* and C, of the last one only */
#define SOME 4 /* tokens, or states, that are taken at once */
#define WIDE 8 /* tokens a pass over x_proj, 2 SOME */
#define LOG2E ((real)1.4426950408889634)
#define LN2 ((real)0.6931471805599453)
#define inline inline __attribute__((always_inline))

/* The order of pointers to weights and to their gradients. */
enum { HEADS, CONV_W, CONV_B, X_W, DT_W, DT_B, A, D };

static inline vec all(real x) { return x - (vec){}; }

static inline vec either(wvec yes, vec a, vec b) {
    return (vec)((yes & (wvec)a) | (~yes & (wvec)b));
}

/* Functions of `count` vectors at once, step by step: a processor's scheduler is too short to find
 * the next vector's chain of steps behind this one's. */
#define EACH for (int i = 0; i < count; i++)

/* 2^x */
#ifdef QUICK
static inline void exp2s(vec *x, const int count) {
    static const float c[] = {0.9999999250635297f,   0.6931530732000761f,   0.24015361704532806f,
                              0.055826318050063196f, 0.008989340094679272f, 0.001877576673383137f};
    vec f[SOME], p[SOME];
    EACH f[i] = (vec)_mm512_reduce_ps((__m512)x[i], 0x09); /* x - floor(x) */
    EACH p[i] = c[5] * f[i] + c[4];
    EACH p[i] = p[i] * f[i] + c[3];
    EACH p[i] = p[i] * f[i] + c[2];
    EACH p[i] = p[i] * f[i] + c[1];
    EACH p[i] = p[i] * f[i] + c[0];
    EACH x[i] = (vec)_mm512_scalef_ps((__m512)p[i], (__m512)x[i]); /* p 2^floor(x) */
}
#else
#ifdef DOUBLE
#define MANTISSA 52
#define BIAS 1023
#else
#define MANTISSA 23
#define BIAS 127
#endif
static inline vec exp2v(vec x) {
    /* comparisons so written keep a NaN */
    x = either(x < all(1 - BIAS), all(1 - BIAS), x);
    x = either(x > all(BIAS), all(BIAS), x);
    vec magic = all((real)(3ll << (MANTISSA - 1)) + BIAS);
    vec shifted = x + magic; /* its lowest bits are round(x) + BIAS */
    vec f = x - (shifted - magic);
#ifdef DOUBLE
    vec p = all(0);
    for (int k = 14; k > 0; k--) p = (p + 1) * f * (LN2 / k); /* Taylor */
    p += 1;
#else
    vec p = 0.0013276471979479397f * f + 0.009675541334216184f;
    p = p * f + 0.05550713273542589f;
    p = p * f + 0.24022119723848476f;
    p = p * f + 0.6931469670647331f;
    p = p * f + 1.0000000716546822f;
#endif
    return p * (vec)((wvec)shifted << MANTISSA);
}

static inline void exp2s(vec *x, const int count) { EACH x[i] = exp2v(x[i]); }
#endif

/* 1 / x of a finite x */
static inline void inverses(vec *x, const int count) {
#ifdef QUICK
    vec guess[SOME];
    EACH guess[i] = (vec)_mm512_rcp14_ps((__m512)x[i]);
    EACH x[i] = 2 - x[i] * guess[i];
    EACH x[i] = guess[i] * x[i];
#else
    EACH x[i] = 1 / x[i];
#endif
}

static inline void sigmoids(vec *x, const int count) {
    EACH x[i] = -LOG2E * x[i];
#ifdef QUICK
    EACH x[i] = (vec)_mm512_min_ps((__m512)all(126), (__m512)x[i]); /* in this order keeps a NaN */
#endif
    exp2s(x, count);
    EACH x[i] = 1 + x[i];
    inverses(x, count);
}

static inline vec sigmoid(vec x) {
    sigmoids(&x, 1);
    return x;
}

/* softplus(x), and its derivative */
static inline void softpluses(vec *x, vec *slope, const int count) {
    vec z[SOME], q[SOME], p[SOME];
    EACH z[i] = LOG2E * either(x[i] < all(0), x[i], -x[i]);
    exp2s(z, count);
    EACH p[i] = (1 + z[i]) * (2 + z[i]);
    inverses(p, count);
    EACH slope[i] = either(x[i] < all(0), z[i], all(1)) * (2 + z[i]) * p[i];
    /* log(1 + z) = 2 artanh(z / (2 + z)) */
    EACH z[i] = z[i] * (1 + z[i]) * p[i];
    EACH q[i] = z[i] * z[i];
    EACH p[i] = all(0);
    for (int k = sizeof(real) == 8 ? 17 : 7; k >= 0; k--) {
        EACH p[i] = p[i] * q[i] + (real)2 / (2 * k + 1);
    }
    EACH x[i] = either(x[i] < all(0), all(0), x[i]) + p[i] * z[i];
}

static inline real sum(vec x) {
#ifdef QUICK
    return _mm512_reduce_add_ps((__m512)x);
#else
    real part[LANES], total = 0;
    memcpy(part, &x, sizeof part);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) part[i] += part[i + width];
    return total + part[0];
#endif
}

/* The sums of four. */
static inline void sum4(real *to, vec a, vec b, vec c, vec d) {
#ifdef QUICK
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps((__m512)a, (__m512)b),
                              _mm512_unpackhi_ps((__m512)a, (__m512)b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps((__m512)c, (__m512)d),
                              _mm512_unpackhi_ps((__m512)c, (__m512)d));
    __m512 x = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
#else
    to[0] = sum(a), to[1] = sum(b), to[2] = sum(c), to[3] = sum(d);
#endif
}

/* Weights in the order in which they are read, or sums of their gradients. Channels come first: a
 * step of NV vectors would bring stores and the loads behind them to like places of two pages,
 * which a processor takes for the same. */
typedef struct {
    vec taps[NV][D_CONV]; /* of the convolution, times what a scalar's embedding gives */
    vec base[NV];         /* what the convolution adds to them, past a sequence's beginning */
    vec gate[NV][2];      /* slope and level of the gate in the last scalar */
    vec conv_w[NV][D_CONV], x_w[NV][PROJECTED], dt_w[NV][DT_RANK], dt_b[NV];
    vec a[NV][D_STATE], d[NV]; /* a: times LOG2E */
    vec starts[][1 + D_CONV][NV]; /* by circuit: its gate; base of the first D_CONV tokens */
} Weights;

/* What is known of one sequence. Rows go through its tokens, channels v one behind the other; some
 * tokens more than there are make their number a multiple of SOME, and count for nothing. */
typedef struct {
    long length, rounded, row; /* row: tokens from v to v + 1 */
    real *scalars;             /* D_CONV - 1 zeros in front */
    real (*x)[PROJECTED], (*dx)[PROJECTED];
    vec *u, *u_slope, *dt, *dt_slope, *behind, *du, *dscalars;
    Weights *w, *g;
    char *memory;
} Work;

static size_t cut(size_t *at, size_t bytes) {
    size_t here = *at;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static int open_work(Work *k, long length, long circuits, int back) {
    size_t at = 0, weights = sizeof(Weights) + sizeof(vec) * (1 + D_CONV) * NV * circuits, row[6];
    k->row = (length + SOME - 1) / SOME * SOME;
    size_t w = cut(&at, weights), g = back ? cut(&at, weights) : w;
    size_t s = cut(&at, sizeof(real) * (k->row + D_CONV));
    size_t ds = cut(&at, sizeof(vec) * (k->row + D_CONV));
    size_t x = cut(&at, sizeof(real) * PROJECTED * k->row);
    size_t dx = cut(&at, sizeof(real) * PROJECTED * k->row);
    for (int i = 0; i < 6; i++) row[i] = i < 2 || back ? cut(&at, sizeof(vec) * NV * k->row) : w;
    char *m = k->memory = aligned_alloc(64, at);
    if (!m) return 1;
    memset(m, 0, at);
    k->w = (Weights *)(m + w), k->g = (Weights *)(m + g);
    k->scalars = (real *)(m + s), k->dscalars = (vec *)(m + ds);
    k->x = (void *)(m + x), k->dx = (void *)(m + dx);
    k->u = (vec *)(m + row[0]), k->dt = (vec *)(m + row[1]);
    k->u_slope = (vec *)(m + row[2]), k->dt_slope = (vec *)(m + row[3]);
    k->behind = (vec *)(m + row[4]), k->du = (vec *)(m + row[5]);
    return 0;
}

/* Column `at` of `width` for each channel, of numbers `stride` apart. */
static void put(vec *to, int width, int at, const real *from, int stride) {
    for (int c = 0; c < D_INNER; c++)
        ((real *)(to + c / LANES * width + at))[c % LANES] = from[(long)c * stride];
}

static void add(real *to, int stride, const vec *from, int width, int at) {
    for (int c = 0; c < D_INNER; c++)
        to[(long)c * stride] += ((const real *)(from + c / LANES * width + at))[c % LANES];
}

/* in_proj of what embeds: row 0 the slope in a scalar, row 1 the level, then the circuits; each
 * for the convolution, then for the gate. */
static const real *head(const real *heads, long row, int gate) {
    return heads + (2 * row + gate) * D_INNER;
}

static void pack(Weights *w, const real *const *from, long circuits) {
    for (int k = 0; k < D_CONV; k++) put(w->conv_w[0], D_CONV, k, from[CONV_W] + k, D_CONV);
    for (int j = 0; j < PROJECTED; j++)
        put(w->x_w[0], PROJECTED, j, from[X_W] + (long)j * D_INNER, 1);
    for (int r = 0; r < DT_RANK; r++) put(w->dt_w[0], DT_RANK, r, from[DT_W] + r, DT_RANK);
    for (int n = 0; n < D_STATE; n++) put(w->a[0], D_STATE, n, from[A] + n, D_STATE);
    for (int v = 0; v < NV; v++)
        for (int n = 0; n < D_STATE; n++) w->a[v][n] *= LOG2E;
    put(w->dt_b, 1, 0, from[DT_B], 1);
    put(w->d, 1, 0, from[D], 1);
    for (int i = 0; i < 2; i++) put(w->gate[0], 2, i, head(from[HEADS], i, 1), 1);
    vec slope[NV] = {}, level[NV] = {}, row[NV] = {}, bias[NV] = {};
    put(slope, 1, 0, head(from[HEADS], 0, 0), 1);
    put(level, 1, 0, head(from[HEADS], 1, 0), 1);
    put(bias, 1, 0, from[CONV_B], 1);
    for (int v = 0; v < NV; v++) {
        w->base[v] = bias[v];
        for (int k = 0; k < D_CONV; k++) {
            w->taps[v][k] = w->conv_w[v][k] * slope[v];
            w->base[v] += w->conv_w[v][k] * level[v];
        }
    }
    for (long c = 0; c < circuits; c++) {
        put(row, 1, 0, head(from[HEADS], 2 + c, 0), 1);
        put(w->starts[c][0], 1, 0, head(from[HEADS], 2 + c, 1), 1);
        for (int v = 0; v < NV; v++) {
            vec numbers = bias[v];
            for (int j = 0; j < D_CONV; j++) { /* token j: tap D_CONV - 1 - j is the circuit's */
                vec tap = w->conv_w[v][D_CONV - 1 - j];
                w->starts[c][1 + j][v] = numbers + tap * row[v];
                numbers += tap * level[v];
            }
        }
    }
}

/* The gradients in `g`, of what `pack` made, to the weights' own. */
static void unpack(const Weights *w, Weights *g, const real *const *from, real *const *to,
                   long circuits) {
    vec slope[NV] = {}, level[NV] = {}, row[NV] = {};
    vec dslope[NV] = {}, dlevel[NV] = {}, dbias[NV] = {}, drow[NV], dnumbers;
    put(slope, 1, 0, head(from[HEADS], 0, 0), 1);
    put(level, 1, 0, head(from[HEADS], 1, 0), 1);
    for (int v = 0; v < NV; v++) {
        dbias[v] += g->base[v];
        for (int k = 0; k < D_CONV; k++) {
            g->conv_w[v][k] += g->taps[v][k] * slope[v] + g->base[v] * level[v];
            dslope[v] += g->taps[v][k] * w->conv_w[v][k];
            dlevel[v] += g->base[v] * w->conv_w[v][k];
        }
    }
    for (long c = 0; c < circuits; c++) {
        put(row, 1, 0, head(from[HEADS], 2 + c, 0), 1);
        for (int v = 0; v < NV; v++) {
            drow[v] = dnumbers = all(0);
            for (int j = D_CONV - 1; j >= 0; j--) {
                vec start = g->starts[c][1 + j][v], tap = w->conv_w[v][D_CONV - 1 - j];
                g->conv_w[v][D_CONV - 1 - j] += dnumbers * level[v] + start * row[v];
                dlevel[v] += dnumbers * tap;
                drow[v] += start * tap;
                dnumbers += start;
            }
            dbias[v] += dnumbers;
        }
        add((real *)head(to[HEADS], 2 + c, 0), 1, drow, 1, 0);
        add((real *)head(to[HEADS], 2 + c, 1), 1, g->starts[c][0], 1, 0);
    }
    add((real *)head(to[HEADS], 0, 0), 1, dslope, 1, 0);
    add((real *)head(to[HEADS], 1, 0), 1, dlevel, 1, 0);
    for (int i = 0; i < 2; i++) add((real *)head(to[HEADS], i, 1), 1, g->gate[0], 2, i);
    for (int k = 0; k < D_CONV; k++) add(to[CONV_W] + k, D_CONV, g->conv_w[0], D_CONV, k);
    for (int j = 0; j < PROJECTED; j++) add(to[X_W] + (long)j * D_INNER, 1, g->x_w[0], PROJECTED, j);
    for (int r = 0; r < DT_RANK; r++) add(to[DT_W] + r, DT_RANK, g->dt_w[0], DT_RANK, r);
    for (int n = 0; n < D_STATE; n++) add(to[A] + n, D_STATE, g->a[0], D_STATE, n);
    add(to[CONV_B], 1, dbias, 1, 0);
    add(to[DT_B], 1, g->dt_b, 1, 0);
    add(to[D], 1, g->d, 1, 0);
}

/* x_proj of some tokens from t on: x[from] to x[to]. */
static inline void project(Work *k, long t, const int tokens, int from, int to) {
    const vec *u = k->u + t;
    int j = from;
    for (; j + 4 <= to; j += 4) {
        vec sums[SOME][4] = {};
        for (int v = 0; v < NV; v++)
            for (int i = 0; i < tokens; i++)
                for (int c = 0; c < 4; c++) sums[i][c] += u[v * k->row + i] * k->w->x_w[v][j + c];
        for (int i = 0; i < tokens; i++)
            sum4(k->x[t + i] + j, sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
    }
    for (; j < to; j++)
        for (int i = 0; i < tokens; i++) {
            vec a = all(0);
            for (int v = 0; v < NV; v++) a += u[v * k->row + i] * k->w->x_w[v][j];
            k->x[t + i][j] = sum(a);
        }
}

/* Convolution and its activation: u. */
static inline void convolve(Work *k, long circuit, const int back) {
    for (int v = 0; v < NV; v++) {
        vec *u = k->u + v * k->row, *slope = k->u_slope + v * k->row;
        for (long t = 0; t < k->rounded; t += SOME) {
            vec c[SOME], sigma[SOME];
            const real *s = k->scalars + t;
            for (int i = 0; i < SOME; i++) {
                c[i] = t + i < D_CONV ? k->w->starts[circuit][1 + t + i][v] : k->w->base[v];
                for (int j = 0; j < D_CONV; j++) c[i] += s[i + j] * k->w->taps[v][j];
                sigma[i] = c[i];
            }
            sigmoids(sigma, SOME);
            for (int i = 0; i < SOME; i++) {
                vec found = u[t + i] = c[i] * sigma[i];
                if (back) slope[t + i] = sigma[i] + found * (1 - sigma[i]);
            }
        }
    }
}

/* The steps dt. */
static inline void find_steps(Work *k, const int back) {
    for (int v = 0; v < NV; v++) {
        vec *dt = k->dt + v * k->row, *slopes = k->dt_slope + v * k->row;
        for (long t = 0; t < k->rounded; t += SOME) {
            vec raw[SOME], slope[SOME];
            for (int i = 0; i < SOME; i++) {
                raw[i] = k->w->dt_b[v];
                for (int r = 0; r < DT_RANK; r++) raw[i] += k->x[t + i][r] * k->w->dt_w[v][r];
            }
            softpluses(raw, slope, SOME);
            for (int i = 0; i < SOME; i++) {
                dt[t + i] = raw[i];
                if (back) slopes[t + i] = slope[i];
            }
        }
    }
}

static inline void read_tokens(Work *k, const real *values, long circuit, const int back) {
    memset(k->scalars, 0, sizeof(real) * D_CONV); /* the circuit's own token is no number */
    memcpy(k->scalars + D_CONV, values + 1, sizeof(real) * (k->length - 1));
    k->rounded = (k->length + SOME - 1) / SOME * SOME;
    for (long t = k->length; t < k->rounded; t++) k->scalars[t + D_CONV - 1] = 0;
    convolve(k, circuit, back);
    for (long t = 0; t < k->rounded; t += SOME) project(k, t, SOME, 0, READ);
    project(k, k->length - 1, 1, READ, PROJECTED);
    find_steps(k, back);
    if (!back) return;
    for (int v = 0; v < NV; v++) {
        vec *u = k->u + v * k->row, *dt = k->dt + v * k->row, *slope = k->dt_slope + v * k->row;
        vec *behind = k->behind + v * k->row, r = all(0);
        for (long t = k->length; t < k->rounded; t++) u[t] = dt[t] = slope[t] = behind[t] = r;
        for (long t = k->length - 1; t >= 0; t--) behind[t] = r, r += dt[t];
    }
}

/* The gate of the last token before its activation. */
static inline vec gate(const Work *k, long circuit, int v) {
    if (k->length == 1) return k->w->starts[circuit][0][v];
    return k->scalars[k->length + D_CONV - 2] * k->w->gate[v][0] + k->w->gate[v][1];
}

/* sum_n exp(A_n R) bc_n */
static inline vec decayed(const vec *a, vec behind, const real *bc) {
    vec kernel = all(0);
    int n = 0;
    for (; n + SOME <= D_STATE; n += SOME) {
        vec e[SOME];
        for (int i = 0; i < SOME; i++) e[i] = a[n + i] * behind;
        exp2s(e, SOME);
        for (int i = 0; i < SOME; i++) kernel += e[i] * bc[n + i];
    }
    for (; n < D_STATE; n++) {
        vec e = a[n] * behind;
        exp2s(&e, 1);
        kernel += e * bc[n];
    }
    return kernel;
}

static int wrong(long batch, long length, long circuits, const int64_t *lengths,
                 const int64_t *which) {
    for (long b = 0; b < batch; b++)
        if (lengths[b] < 1 || lengths[b] > length || which[b] < 0 || which[b] >= circuits)
            return 2;
    return 0;
}

/* mixed: y_L before its gate; gated: behind it; both (batch, D_INNER). Returns 1 without memory, 2
 * for a length or circuit that cannot be. */
int mamba_forward(long batch, long length, long circuits, const real *values,
                  const int64_t *lengths, const int64_t *which, const real *const *weights,
                  real *mixed, real *gated) {
    Work k;
    if (wrong(batch, length, circuits, lengths, which)) return 2;
    if (open_work(&k, length, circuits, 0)) return 1;
    pack(k.w, weights, circuits);
    for (long b = 0; b < batch; b++) {
        long last = (k.length = lengths[b]) - 1;
        vec y[NV], out[NV];
        read_tokens(&k, values + b * length + length - k.length, which[b], 0);
        for (long t = 0; t <= last; t++)
            for (int n = 0; n < D_STATE; n++) k.x[t][DT_RANK + n] *= k.x[last][READ + n];
        for (int v = 0; v < NV; v++) {
            const vec *u = k.u + v * k.row, *dt = k.dt + v * k.row;
            vec behind = all(0);
            y[v] = u[last] * k.w->d[v];
            for (long t = last; t >= 0; t--) {
                y[v] += decayed(k.w->a[v], behind, k.x[t] + DT_RANK) * dt[t] * u[t];
                behind += dt[t];
            }
            vec z = gate(&k, which[b], v);
            out[v] = y[v] * z * sigmoid(z);
        }
        memcpy(mixed + b * D_INNER, y, sizeof(real) * D_INNER);
        memcpy(gated + b * D_INNER, out, sizeof(real) * D_INNER);
    }
    free(k.memory);
    return 0;
}

/* Through the gate: gy, the gradient in y_L. */
static inline void back_gate(Work *k, long circuit, const vec *grad, const vec *y, vec *gy,
                             const int weights) {
    long last = k->length - 1;
    real scalar = k->scalars[last + D_CONV - 1];
    Weights *g = k->g;
    vec ds = all(0);
    for (int v = 0; v < NV; v++) {
        vec z = gate(k, circuit, v), sigma = sigmoid(z), open = z * sigma;
        vec dz = grad[v] * y[v] * (sigma + open * (1 - sigma));
        gy[v] = grad[v] * open;
        ds += dz * k->w->gate[v][0];
        if (!weights) continue;
        g->d[v] += gy[v] * k->u[v * k->row + last];
        if (last == 0) {
            g->starts[circuit][0][v] += dz;
        } else {
            g->gate[v][0] += dz * scalar;
            g->gate[v][1] += dz;
        }
    }
    k->dscalars[last + D_CONV - 1] += ds;
}

/* Through the sum over tokens and the steps dt, of SOME tokens: du, and dx of dt and B; dc adds to
 * that of C. later: the gradient in R summed over the tokens before. */
static inline void back_scan(Work *k, long t, const vec *gy, vec *later, const int weights) {
    const Weights *w = k->w;
    Weights *g = k->g;
    long last = k->length - 1;
    const real *c = k->x[last] + READ;
    real *dc = k->dx[last] + READ, bc[SOME][D_STATE];
    vec m[READ][SOME];
    memset(m, 0, sizeof m);
    for (int n = 0; n < D_STATE; n++)
        for (int i = 0; i < SOME; i++) bc[i][n] = k->x[t + i][DT_RANK + n] * c[n];
    for (int v = 0; v < NV; v++) {
        const vec *u = k->u + v * k->row + t, *dt = k->dt + v * k->row + t;
        const vec *r = k->behind + v * k->row + t, *dt_slope = k->dt_slope + v * k->row + t;
        vec gx[SOME], gxr[SOME], kernel[SOME] = {}, slope[SOME] = {}, e[SOME], sum_ddt = all(0);
        for (int i = 0; i < SOME; i++) gx[i] = gy[v] * dt[i] * u[i], gxr[i] = gx[i] * r[i];
        for (int n = 0; n < D_STATE; n++) {
            vec a = w->a[v][n], da = weights ? g->a[v][n] : a;
            for (int i = 0; i < SOME; i++) e[i] = a * r[i];
            exp2s(e, SOME);
            for (int i = 0; i < SOME; i++) m[DT_RANK + n][i] += gx[i] * e[i];
            for (int i = 0; i < SOME; i++) e[i] *= bc[i][n];
            for (int i = 0; i < SOME; i++) kernel[i] += e[i];
            for (int i = 0; i < SOME; i++) slope[i] += e[i] * a;
            for (int i = 0; weights && i < SOME; i++) da += gxr[i] * e[i];
            if (weights) g->a[v][n] = da;
        }
        for (int i = 0; i < SOME; i++) {
            vec du = gy[v] * kernel[i];
            vec due = t + i == last ? gy[v] * w->d[v] : all(0);
            k->du[v * k->row + t + i] = du * dt[i] + due;
            e[i] = (du * u[i] + later[v]) * dt_slope[i]; /* through the steps */
            later[v] += LN2 * gx[i] * slope[i];
            sum_ddt += e[i];
        }
        if (weights) g->dt_b[v] += sum_ddt;
        for (int j = 0; j < DT_RANK; j++) {
            vec dw = weights ? g->dt_w[v][j] : sum_ddt;
            for (int i = 0; i < SOME; i++) m[j][i] += e[i] * w->dt_w[v][j];
            for (int i = 0; weights && i < SOME; i++) dw += e[i] * k->x[t + i][j];
            if (weights) g->dt_w[v][j] = dw;
        }
    }
    for (int i = 0; i < SOME; i++) {
        real *dx = k->dx[t + i];
        int j = 0;
        for (; j + 4 <= READ; j += 4) sum4(dx + j, m[j][i], m[j + 1][i], m[j + 2][i], m[j + 3][i]);
        for (; j < READ; j++) dx[j] = sum(m[j][i]);
        for (int n = 0; n < D_STATE; n++) {
            dc[n] += dx[DT_RANK + n] * k->x[t + i][DT_RANK + n];
            dx[DT_RANK + n] *= c[n];
        }
    }
}

/* Through x_proj of some tokens, to du and to the weights, and through the convolution. */
static inline void back_read(Work *k, long t, const int tokens, long circuit, const int weights) {
    const Weights *w = k->w;
    Weights *g = k->g;
    for (int v = 0; v < NV; v++) {
        const vec *u = k->u + v * k->row + t, *slope = k->u_slope + v * k->row + t;
        vec du[WIDE], ds[WIDE + D_CONV - 1];
        for (int i = 0; i < tokens; i++) du[i] = k->du[v * k->row + t + i];
        for (int j = 0; j < READ; j++) {
            vec x_w = w->x_w[v][j], dw = weights ? g->x_w[v][j] : x_w;
            for (int i = 0; i < tokens; i++) du[i] += k->dx[t + i][j] * x_w;
            for (int i = 0; weights && i < tokens; i++) dw += k->dx[t + i][j] * u[i];
            if (weights) g->x_w[v][j] = dw;
        }
        for (int i = 0; i < tokens; i++) {
            du[i] *= slope[i];
            if (weights) *(t + i < D_CONV ? g->starts[circuit][1 + t + i] + v : g->base + v) += du[i];
        }
        for (int i = 0; i < tokens + D_CONV - 1; i++) ds[i] = k->dscalars[t + i];
        for (int j = 0; j < D_CONV; j++) {
            vec tap = w->taps[v][j], dw = weights ? g->taps[v][j] : tap;
            for (int i = 0; i < tokens; i++) ds[i + j] += du[i] * tap;
            for (int i = 0; weights && i < tokens; i++) dw += du[i] * k->scalars[t + i + j];
            if (weights) g->taps[v][j] = dw;
        }
        for (int i = 0; i < tokens + D_CONV - 1; i++) k->dscalars[t + i] = ds[i];
    }
}

/* Through C, which the last token alone gives. */
static inline void back_outputs(Work *k, const int weights) {
    long last = k->length - 1;
    const real *dc = k->dx[last] + READ;
    for (int v = 0; v < NV; v++) {
        vec u = k->u[v * k->row + last], du = all(0);
        for (int n = 0; n < D_STATE; n++) {
            du += dc[n] * k->w->x_w[v][READ + n];
            if (weights) k->g->x_w[v][READ + n] += dc[n] * u;
        }
        k->du[v * k->row + last] += du;
    }
}

static inline void back_sequence(Work *k, long circuit, const vec *gy, const int weights) {
    vec later[NV] = {};
    long t = 0;
    memset(k->dx[k->length - 1] + READ, 0, sizeof(real) * D_STATE);
    for (; t < k->rounded; t += SOME) back_scan(k, t, gy, later, weights);
    back_outputs(k, weights);
    for (t = 0; t + WIDE <= k->rounded; t += WIDE) back_read(k, t, WIDE, circuit, weights);
    if (t < k->rounded) back_read(k, t, SOME, circuit, weights);
}

static inline void back_all(Work *k, long batch, long length, const real *values,
                            const int64_t *lengths, const int64_t *which, const real *mixed,
                            const real *grad, real *dvalues, const int weights) {
    vec y[NV] = {}, dy[NV] = {}, gy[NV];
    for (long b = 0; b < batch; b++) {
        long front = length - (k->length = lengths[b]);
        read_tokens(k, values + b * length + front, which[b], 1);
        memset(k->dscalars, 0, sizeof(vec) * (k->rounded + D_CONV));
        memcpy(y, mixed + b * D_INNER, sizeof(real) * D_INNER);
        memcpy(dy, grad + b * D_INNER, sizeof(real) * D_INNER);
        back_gate(k, which[b], dy, y, gy, weights);
        back_sequence(k, which[b], gy, weights);
        for (long i = 1; i < k->length; i++)
            dvalues[b * length + front + i] = sum(k->dscalars[i + D_CONV - 1]);
    }
}

/* dvalues: shape of values, zeros before; dweights: as weights, zeros before, or null. */
int mamba_backward(long batch, long length, long circuits, const real *values,
                   const int64_t *lengths, const int64_t *which, const real *const *weights,
                   const real *mixed, const real *grad, real *dvalues, real *const *dweights) {
    Work k;
    if (wrong(batch, length, circuits, lengths, which)) return 2;
    if (open_work(&k, length, circuits, 1)) return 1;
    pack(k.w, weights, circuits);
    if (dweights) {
        back_all(&k, batch, length, values, lengths, which, mixed, grad, dvalues, 1);
        unpack(k.w, k.g, weights, dweights, circuits);
    } else {
        back_all(&k, batch, length, values, lengths, which, mixed, grad, dvalues, 0);
    }
    free(k.memory);
    return 0;
}
