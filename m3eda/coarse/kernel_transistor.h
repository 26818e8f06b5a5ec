/* Field-effect transistors at operating points: transistor.py tells what and why; SURFACE
 * comes from there. The loop over transistors has no calls and no branches, so that compilers do
 * several at once. */

#include <stdint.h>

/* Of a loop whose turns may be done in any order: its arrays do not overlap. */
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

enum { LANES = 8, NUMBERS = 12 }; /* as many doubles as the widest processors do at once */

typedef struct { /* of each transistor, as `Point` */
    double *current, *gm, *gds, *gmb, *saturation, *pinched, *overdrive;
} points_t;

static inline double greater(double a, double b) {
    return a > b ? a : b;
}

/* exp(x), where it is not beyond all that matters, to a few units in the last place: 2^n times a series in the rest, at most log(2) / 2. */
static inline double exponential(double x) {
    const double round = 6755399441055744.0; /* 1.5 * 2^52: its last bits are n */
    x = x < -300.0 ? -300.0 : x; /* its square is no tiny number yet, which would be slow */
    x = x > 700.0 ? 700.0 : x;
    double shifted = x * 1.4426950408889634 + round, n = shifted - round, scale;
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int64_t)((uint64_t)(bits + 1023) << 52);
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* log(1 + s) for s from 0 to 1, as 2 artanh(s / (2 + s)). */
static inline double log_of_more(double s) {
    double z = s / (2.0 + s), w = z * z, p = 1.0 / 33.0;
    p = p * w + 1.0 / 31.0;
    p = p * w + 1.0 / 29.0;
    p = p * w + 1.0 / 27.0;
    p = p * w + 1.0 / 25.0;
    p = p * w + 1.0 / 23.0;
    p = p * w + 1.0 / 21.0;
    p = p * w + 1.0 / 19.0;
    p = p * w + 1.0 / 17.0;
    p = p * w + 1.0 / 15.0;
    p = p * w + 1.0 / 13.0;
    p = p * w + 1.0 / 11.0;
    p = p * w + 1.0 / 9.0;
    p = p * w + 1.0 / 7.0;
    p = p * w + 1.0 / 5.0;
    p = p * w + 1.0 / 3.0;
    p = p * w + 1.0;
    return 2.0 * z * p;
}

/* log(x) for normal numbers above 0: 2^n, and what is left from 1 to 2. */
static inline double logarithm(double x) {
    int64_t bits, power;
    double n, rest;
    memcpy(&bits, &x, sizeof bits);
    power = (bits >> 52) | 0x4330000000000000; /* 2^52 and n + 1023 as its last bits */
    bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
    memcpy(&n, &power, sizeof n);
    memcpy(&rest, &bits, sizeof rest);
    n -= 4503599627370496.0 + 1023.0;
    return n * 6.93147180559945309417e-01 + log_of_more(rest - 1.0);
}

/* log(1 + exp(x)) and its derivative. */
static inline double charge(double half, double *derivative) {
    double small = exponential(half > 0.0 ? -half : half);
    *derivative = (half > 0.0 ? 1.0 : small) / (1.0 + small);
    return log_of_more(small) + greater(half, 0.0);
}

/* ut = kT/q; voltages over those of sources, as for electrons. Where a drain lies below its source
 * the two are exchanged. */
static void evaluate(long lanes, double *const numbers[NUMBERS], const double *vgs,
                     const double *vds, const double *vbs, double ut,
                     const points_t *to) {
    const double *threshold = numbers[0], *n = numbers[1];
    const double *body = numbers[2], *strength = numbers[3];
    const double *field = numbers[4], *roughness = numbers[5];
    const double *early_log = numbers[6], *rise = numbers[7];
    const double *pull = numbers[8], *knee = numbers[9];
    const double *edge = numbers[10], *curve = numbers[11];
    double *current = to->current, *gm = to->gm, *gds = to->gds;
    double *gmb = to->gmb, *sat = to->saturation, *pinched = to->pinched;
    double *overdrive = to->overdrive;
    const double surface_root = sqrt(SURFACE), inverse_ut = 1.0 / ut;
    lanes -= lanes % LANES; /* which it is a multiple of: no rest is left to do one by one */
    INDEPENDENT
    for (long k = 0; k < lanes; k++) {
        double shift = vds[k] < 0.0 ? vds[k] : 0.0, v = vds[k] < 0.0 ? -vds[k] : vds[k];
        double vg = vgs[k] - shift, vb = vbs[k] - shift;
        double depth = SURFACE - vb;
        double root = sqrt(depth * depth + 0.01);
        depth = sqrt(0.5 * (depth + root));
        double unit = 1.0 / (n[k] * ut);
        double over = unit * (vg - threshold[k] - body[k] * (depth - surface_root) + pull[k] * v);
        double source_o, slope;
        double source = charge(0.5 * over, &source_o);
        source_o *= 0.5;
        double drive = 2.0 * ut * source, drive_o = 2.0 * ut * source_o;
        double inverse = 1.0 / field[k];
        double share = field[k] / (field[k] + drive);
        double saturation = share * drive + knee[k] * ut, saturation_o = share * share * drive_o;
        double gap = saturation - v - edge[k];
        double far = sqrt(gap * gap + 4.0 * edge[k] * saturation), bend = 1.0 / far;
        double reached = saturation - 0.5 * (gap + far);
        double reached_o = (0.5 - 0.5 * (gap + 2.0 * edge[k]) * bend) * saturation_o;
        double reached_v = 0.5 + 0.5 * gap * bend;
        double drain = charge(0.5 * (over - reached * inverse_ut), &slope);
        double drain_o = slope * (0.5 - 0.5 * reached_o * inverse_ut);
        double drain_v = slope * (-0.5 * inverse_ut) * reached_v;
        double total = (source - drain) * (source + drain);
        double total_o = 2.0 * (source * source_o - drain * drain_o);
        double early = exponential(-early_log[k] - rise[k] * drive);
        double behind = (v - reached) * early, more = 1.0 + curve[k] * behind;
        double flat = 1.0 / more, longer = 1.0 + logarithm(more) / curve[k];
        double longer_o = -flat * (early * reached_o + behind * rise[k] * drive_o);
        double straight = 1.0 / (1.0 + reached * inverse);
        double smooth = 1.0 / (1.0 + roughness[k] * drive);
        double factor = strength[k] * straight * smooth;
        double here = factor * total * longer;
        double by_o = factor * (total_o * longer + total * longer_o)
            - here * (straight * reached_o * inverse + smooth * roughness[k] * drive_o);
        double by_v = factor * (-2.0 * drain * drain_v * longer + total * flat * early * (1.0 - reached_v))
            - here * straight * reached_v * inverse;
        double own_gm = by_o * unit, own_gds = by_v + own_gm * pull[k];
        double own_gmb = own_gm * body[k] * 0.5 * depth / root;
        double sign = vds[k] < 0.0 ? -1.0 : 1.0;
        current[k] = sign * here;
        gm[k] = sign * own_gm;
        gds[k] = own_gds + (vds[k] < 0.0 ? own_gm + own_gmb : 0.0);
        gmb[k] = sign * own_gmb;
        sat[k] = saturation - (knee[k] - 1.0) * ut;
        pinched[k] = drain / source;
        overdrive[k] = over / unit;
    }
}
