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
#define MOST 4                         /* vectors that a function takes at once */
#define TOGETHER 4                     /* tokens a pass over weights, MOST or fewer */
#define WIDE 8
#define GROUP (NV % 4 == 0 ? 4 : NV % 2 == 0 ? 2 : 1)
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
    vec f[MOST], p[MOST];
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
    vec guess[MOST];
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
    vec z[MOST], q[MOST], p[MOST];
    EACH z[i] = LOG2E * either(x[i] < all(0), x[i], -x[i]);
    exp2s(z, count);
    EACH p[i] = (1 + z[i]) * (2 + z[i]);
    inverses(p, count);
    EACH slope[i] = either(x[i] < all(0), z[i], all(1)) * (2 + z[i]) * p[i];
    /* log(1 + z) = 2 artanh(z / (2 + z)) */
    EACH z[i] = z[i] * (1 + z[i]) * p[i];
    EACH q[i] = z[i] * z[i];
    EACH p[i] = all(0);
    for (int k = sizeof(real) == 8 ? 17 : 6; k >= 0; k--) {
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

/* What is known of one sequence, token by token. */
typedef struct {
    long length;
    real *scalars; /* D_CONV - 1 zeros in front */
    real (*x)[PROJECTED];
    real (*dx)[PROJECTED];
    vec (*u)[NV], (*u_slope)[NV], (*dt)[NV], (*dt_slope)[NV], (*behind)[NV], (*du)[NV];
    vec *dscalars;
    Weights *w, *g;
    char *memory;
} Work;

static void close_work(Work *k) { free(k->memory); }

static size_t cut(size_t *at, size_t bytes) {
    size_t here = *at;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static int open_work(Work *k, long length, long circuits, int back) {
    size_t at = 0, row = sizeof(vec) * NV * length, weights = sizeof(Weights);
    weights += sizeof(vec) * (1 + D_CONV) * NV * circuits;
    size_t w = cut(&at, weights), g = back ? cut(&at, weights) : 0, end_of_weights = at;
    size_t s = cut(&at, sizeof(real) * (length + D_CONV)), rows[6];
    size_t x = cut(&at, sizeof(real) * PROJECTED * length);
    size_t dx = cut(&at, sizeof(real) * PROJECTED * length);
    size_t ds = cut(&at, sizeof(vec) * (length + D_CONV));
    for (int i = 0; i < (back ? 6 : 2); i++) rows[i] = cut(&at, row);
    if (!back)
        for (int i = 2; i < 6; i++) rows[i] = 0;
    if (!(k->memory = aligned_alloc(64, at))) return 1;
    memset(k->memory, 0, end_of_weights);
    char *m = k->memory;
    k->w = (Weights *)(m + w), k->g = (Weights *)(m + g);
    k->scalars = (real *)(m + s), k->x = (void *)(m + x), k->dx = (void *)(m + dx);
    k->dscalars = (vec *)(m + ds);
    k->u = (void *)(m + rows[0]), k->dt = (void *)(m + rows[1]);
    k->u_slope = (void *)(m + rows[2]), k->dt_slope = (void *)(m + rows[3]);
    k->behind = (void *)(m + rows[4]), k->du = (void *)(m + rows[5]);
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
    for (int j = 0; j < PROJECTED; j++) put(w->x_w[0], PROJECTED, j, from[X_W] + (long)j * D_INNER, 1);
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

/* out[j] = w[j] . u, of two tokens or, where `two` is 0, of one */
static inline void dots(real *out, real *out2, const vec *u, const vec *u2, const vec (*w)[PROJECTED],
                        int count, const int two) {
    int j = 0;
    for (; j + 4 <= count; j += 4) {
        vec a[4] = {}, b[4] = {};
        for (int v = 0; v < NV; v++)
            for (int i = 0; i < 4; i++) {
                a[i] += u[v] * w[v][j + i];
                if (two) b[i] += u2[v] * w[v][j + i];
            }
        sum4(out + j, a[0], a[1], a[2], a[3]);
        if (two) sum4(out2 + j, b[0], b[1], b[2], b[3]);
    }
    for (; j < count; j++) {
        vec a = all(0), b = a;
        for (int v = 0; v < NV; v++) {
            a += u[v] * w[v][j];
            if (two) b += u2[v] * w[v][j];
        }
        out[j] = sum(a);
        if (two) out2[j] = sum(b);
    }
}

static inline void project(Work *k) {
    const Weights *w = k->w;
    long t = 0, last = k->length - 1;
    for (; t < last; t += 2) dots(k->x[t], k->x[t + 1], k->u[t], k->u[t + 1], w->x_w, READ, 1);
    if (t == last) dots(k->x[t], 0, k->u[t], 0, w->x_w, READ, 0);
    dots(k->x[last] + READ, 0, k->u[last], 0, (const vec(*)[PROJECTED])(w->x_w[0] + READ), D_STATE, 0);
}

/* Convolution, its activation, the projections and the steps dt of one sequence. */
static inline void read_tokens(Work *k, const real *values, long circuit, const int back) {
    const Weights *w = k->w;
    real *s = k->scalars;
    memset(s, 0, sizeof(real) * D_CONV); /* the circuit's own token is no number */
    memcpy(s + D_CONV, values + 1, sizeof(real) * (k->length - 1));
    for (long t = 0; t < k->length; t++) {
        const vec *base = t < D_CONV ? w->starts[circuit][1 + t] : w->base;
        for (int v = 0; v < NV; v += GROUP) {
            vec c[GROUP], sigma[GROUP];
            for (int i = 0; i < GROUP; i++) {
                c[i] = base[v + i];
                for (int j = 0; j < D_CONV; j++) c[i] += s[t + j] * w->taps[v + i][j];
                sigma[i] = c[i];
            }
            sigmoids(sigma, GROUP);
            for (int i = 0; i < GROUP; i++) {
                vec u = k->u[t][v + i] = c[i] * sigma[i];
                if (back) k->u_slope[t][v + i] = sigma[i] + u * (1 - sigma[i]);
            }
        }
    }
    project(k);
    vec behind[NV] = {};
    for (long t = k->length - 1; t >= 0; t--)
        for (int v = 0; v < NV; v += GROUP) {
            vec raw[GROUP], slope[GROUP];
            for (int i = 0; i < GROUP; i++) {
                raw[i] = w->dt_b[v + i];
                for (int r = 0; r < DT_RANK; r++) raw[i] += k->x[t][r] * w->dt_w[v + i][r];
            }
            softpluses(raw, slope, GROUP);
            for (int i = 0; i < GROUP; i++) {
                k->dt[t][v + i] = raw[i];
                if (!back) continue;
                k->dt_slope[t][v + i] = slope[i];
                k->behind[t][v + i] = behind[v + i];
                behind[v + i] += raw[i];
            }
        }
}

/* The gate of the last token before its activation. */
static inline vec gate(const Work *k, long circuit, int v) {
    if (k->length == 1) return k->w->starts[circuit][0][v];
    return k->scalars[k->length + D_CONV - 2] * k->w->gate[v][0] + k->w->gate[v][1];
}

static int wrong(long batch, long length, long circuits, const int64_t *lengths,
                 const int64_t *which) {
    for (long b = 0; b < batch; b++)
        if (lengths[b] < 1 || lengths[b] > length || which[b] < 0 || which[b] >= circuits)
            return 2;
    return 0;
}

static void give(real *to, const vec *from) { memcpy(to, from, sizeof(real) * D_INNER); }

static void take(vec *to, const real *from) { memcpy(to, from, sizeof(real) * D_INNER); }

/* mixed: y_L before its gate; gated: behind it; both (batch, D_INNER). Returns 1 without memory, 2
 * for a length or circuit that cannot be. */
int mamba_forward(long batch, long length, long circuits, const real *values,
                  const int64_t *lengths, const int64_t *which, const real *const *weights,
                  real *mixed, real *gated) {
    Work k;
    if (wrong(batch, length, circuits, lengths, which)) return 2;
    if (open_work(&k, length, circuits, 0)) return 1;
    const Weights *w = k.w;
    pack(k.w, weights, circuits);
    for (long b = 0; b < batch; b++) {
        long last = (k.length = lengths[b]) - 1;
        vec y[NV], out[NV];
        read_tokens(&k, values + b * length + length - k.length, which[b], 0);
        const real *c = k.x[last] + READ;
        real ones = 0;
        for (int n = 0; n < D_STATE; n++) ones += k.x[last][DT_RANK + n] * c[n];
        for (long t = 0; t < last; t++)
            for (int n = 0; n < D_STATE; n++) k.x[t][DT_RANK + n] *= c[n];
        for (int v = 0; v < NV; v++) {
            y[v] = k.u[last][v] * (ones * k.dt[last][v] + w->d[v]);
            vec behind = k.dt[last][v];
            for (long t = last - 1; t >= 0; t--) {
                vec kernel = all(0);
                int n = 0;
                for (; n + MOST <= D_STATE; n += MOST) {
                    vec e[MOST];
                    for (int i = 0; i < MOST; i++) e[i] = w->a[v][n + i] * behind;
                    exp2s(e, MOST);
                    for (int i = 0; i < MOST; i++) kernel += e[i] * k.x[t][DT_RANK + n + i];
                }
                for (; n < D_STATE; n++) {
                    vec e = w->a[v][n] * behind;
                    exp2s(&e, 1);
                    kernel += e * k.x[t][DT_RANK + n];
                }
                y[v] += kernel * k.dt[t][v] * k.u[t][v];
                behind += k.dt[t][v];
            }
            vec z = gate(&k, which[b], v);
            out[v] = y[v] * z * sigmoid(z);
        }
        give(mixed + b * D_INNER, y);
        give(gated + b * D_INNER, out);
    }
    close_work(&k);
    return 0;
}

/* Through the gate: gy, the gradient in y_L; what is due to the last token is added. */
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
        g->d[v] += gy[v] * k->u[last][v];
        if (last == 0) {
            g->starts[circuit][0][v] += dz;
        } else {
            g->gate[v][0] += dz * scalar;
            g->gate[v][1] += dz;
        }
    }
    k->dscalars[last + D_CONV - 1] += ds;
}

/* Through the sum over tokens and the steps dt, of some tokens: du, and dx of dt and B; dc adds to
 * that of C. later: the gradient in R summed over the tokens before. */
static inline void back_scan(Work *k, long t, const int tokens, const vec *gy, vec *later,
                             const int weights) {
    const Weights *w = k->w;
    Weights *g = k->g;
    long last = k->length - 1;
    const real *c = k->x[last] + READ;
    real *dc = k->dx[last] + READ, bc[TOGETHER][D_STATE];
    vec m[READ][TOGETHER];
    memset(m, 0, sizeof m);
    for (int n = 0; n < D_STATE; n++)
        for (int i = 0; i < tokens; i++) bc[i][n] = k->x[t + i][DT_RANK + n] * c[n];
    for (int v = 0; v < NV; v++) {
        vec r[TOGETHER], gx[TOGETHER], gxr[TOGETHER], kernel[TOGETHER], slope[TOGETHER];
        for (int i = 0; i < tokens; i++) {
            r[i] = k->behind[t + i][v];
            gx[i] = gy[v] * k->dt[t + i][v] * k->u[t + i][v];
            gxr[i] = gx[i] * r[i], kernel[i] = slope[i] = all(0);
        }
        for (int n = 0; n < D_STATE; n++) {
            vec a2 = w->a[v][n], da = weights ? g->a[v][n] : a2, e[TOGETHER], p[TOGETHER];
            for (int i = 0; i < tokens; i++) e[i] = a2 * r[i];
            exp2s(e, tokens);
            for (int i = 0; i < tokens; i++) p[i] = e[i] * bc[i][n];
            for (int i = 0; i < tokens; i++) m[DT_RANK + n][i] += gx[i] * e[i];
            for (int i = 0; i < tokens; i++) kernel[i] += p[i];
            for (int i = 0; i < tokens; i++) slope[i] += p[i] * a2;
            for (int i = 0; weights && i < tokens; i++) da += gxr[i] * p[i];
            if (weights) g->a[v][n] = da;
        }
        vec ddt[TOGETHER], sum_ddt = all(0);
        for (int i = 0; i < tokens; i++) {
            vec du = gy[v] * kernel[i];
            ddt[i] = (du * k->u[t + i][v] + later[v]) * k->dt_slope[t + i][v];
            later[v] += LN2 * gx[i] * slope[i];
            sum_ddt += ddt[i];
            k->du[t + i][v] = du * k->dt[t + i][v] + (t + i == last ? gy[v] * w->d[v] : all(0));
        }
        if (weights) g->dt_b[v] += sum_ddt;
        for (int j = 0; j < DT_RANK; j++) {
            vec dw = weights ? g->dt_w[v][j] : sum_ddt;
            for (int i = 0; i < tokens; i++) m[j][i] += ddt[i] * w->dt_w[v][j];
            for (int i = 0; weights && i < tokens; i++) dw += ddt[i] * k->x[t + i][j];
            if (weights) g->dt_w[v][j] = dw;
        }
    }
    for (int i = 0; i < tokens; i++) {
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

/* Through the projection of some tokens, to du and the weights x_w, and through the convolution. */
static inline void back_read(Work *k, long t, const int tokens, long circuit, const int weights) {
    const Weights *w = k->w;
    Weights *g = k->g;
    for (int v = 0; v < NV; v++) {
        vec u[WIDE], du[WIDE], ds[WIDE + D_CONV - 1];
        for (int i = 0; i < tokens; i++) u[i] = k->u[t + i][v], du[i] = k->du[t + i][v];
        for (int j = 0; j < READ; j++) {
            vec x_w = w->x_w[v][j], dw = weights ? g->x_w[v][j] : x_w;
            for (int i = 0; i < tokens; i++) du[i] += k->dx[t + i][j] * x_w;
            for (int i = 0; weights && i < tokens; i++) dw += k->dx[t + i][j] * u[i];
            if (weights) g->x_w[v][j] = dw;
        }
        for (int i = 0; i < tokens; i++) {
            du[i] *= k->u_slope[t + i][v]; /* past the activation */
            if (weights) *(t + i < D_CONV ? g->starts[circuit][1 + t + i] + v : g->base + v) += du[i];
        }
        for (int i = 0; i < tokens + D_CONV - 1; i++) ds[i] = k->dscalars[t + i];
        for (int j = 0; j < D_CONV; j++) {
            vec dw = weights ? g->taps[v][j] : u[0];
            for (int i = 0; i < tokens; i++) ds[i + j] += du[i] * w->taps[v][j];
            for (int i = 0; weights && i < tokens; i++) dw += du[i] * k->scalars[t + i + j];
            if (weights) g->taps[v][j] = dw;
        }
        for (int i = 0; i < tokens + D_CONV - 1; i++) k->dscalars[t + i] = ds[i];
    }
}

/* Through C, which the last token alone gives. */
static inline void back_outputs(Work *k, const int weights) {
    long last = k->length - 1;
    for (int j = READ; j < PROJECTED; j++)
        for (int v = 0; v < NV; v++) {
            k->du[last][v] += k->dx[last][j] * k->w->x_w[v][j];
            if (weights) k->g->x_w[v][j] += k->dx[last][j] * k->u[last][v];
        }
}

static inline void back_sequence(Work *k, long circuit, const vec *gy, const int weights) {
    vec later[NV] = {};
    long t = 0, length = k->length;
    memset(k->dx[length - 1] + READ, 0, sizeof(real) * D_STATE);
    for (; t + TOGETHER <= length; t += TOGETHER) back_scan(k, t, TOGETHER, gy, later, weights);
    for (; t + 2 <= length; t += 2) back_scan(k, t, 2, gy, later, weights);
    for (; t < length; t++) back_scan(k, t, 1, gy, later, weights);
    back_outputs(k, weights);
    for (t = 0; t + WIDE <= length; t += WIDE) back_read(k, t, WIDE, circuit, weights);
    for (; t + 2 <= length; t += 2) back_read(k, t, 2, circuit, weights);
    for (; t < length; t++) back_read(k, t, 1, circuit, weights);
}

static inline void back_all(Work *k, long batch, long length, const real *values,
                            const int64_t *lengths, const int64_t *which, const real *mixed,
                            const real *grad, real *dvalues, const int weights) {
    vec y[NV] = {}, dy[NV] = {}, gy[NV];
    for (long b = 0; b < batch; b++) {
        long front = length - (k->length = lengths[b]);
        read_tokens(k, values + b * length + front, which[b], 1);
        memset(k->dscalars, 0, sizeof(vec) * (k->length + D_CONV));
        take(y, mixed + b * D_INNER);
        take(dy, grad + b * D_INNER);
        back_gate(k, which[b], dy, y, gy, weights);
        back_sequence(k, which[b], gy, weights);
        for (long t = 1; t < k->length; t++)
            dvalues[b * length + front + t] = sum(k->dscalars[t + D_CONV - 1]);
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
    close_work(&k);
    return 0;
}
