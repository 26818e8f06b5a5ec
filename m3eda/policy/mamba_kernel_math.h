/* Vectors of numbers, and functions of them: 2^x, logistic, softplus, sums.
 *
 * Accurate to a few units in the last place; a NaN stays one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
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
#define MOST 4 /* vectors that a function takes at once */
#define LOG2E ((real)1.4426950408889634)
#define LN2 ((real)0.6931471805599453)
/* flags such as `weights` are constants where a function is used */
#define inline inline __attribute__((always_inline))

/* Numbers too small for full precision count as 0 within a call: they take far longer. */
#ifdef __SSE__
static unsigned flush(void) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}
static void restore(unsigned before) { _mm_setcsr(before); }
#else
static unsigned flush(void) { return 0; }
static void restore(unsigned before) { (void)before; }
#endif

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
