/* The last output of a Mamba block over embedded scalars, and its gradients; docs/mamba.md.
 *
 * Compiled for one shape: D_INNER, D_STATE, DT_RANK, D_CONV are given as flags, DOUBLE for double
 * precision. Vectors run over channels, which are padded with zeros to whole ones; tokens in front
 * of a sequence are never touched. Nothing is shared between calls, and sums are always taken in
 * the same order: the same numbers give the same bits.
 */
#include "mamba_kernel_math.h"
#include "mamba_kernel_weights.h"

#define TOGETHER 4 /* tokens that go back through the sum at once, at most MOST */
#define WIDE 8     /* tokens that go back through x_proj at once */
#define GROUP (NV % 4 == 0 ? 4 : NV % 2 == 0 ? 2 : 1) /* vectors of a token, at most MOST */

/* x_proj of some tokens from t on: x[from] to x[to]. */
static inline void project(Work *k, long t, const int tokens, const int from, const int to) {
    const int fours = from + (to - from) / 4 * 4;
    for (int j = from; j < fours; j += 4) {
        vec sums[2][4] = {};
        for (int v = 0; v < NV; v++)
            for (int i = 0; i < tokens; i++)
                for (int c = 0; c < 4; c++) sums[i][c] += k->u[t + i][v] * k->w->x_w[v][j + c];
        for (int i = 0; i < tokens; i++)
            sum4(k->x[t + i] + j, sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
    }
    for (int j = fours; j < to; j++)
        for (int i = 0; i < tokens; i++) {
            vec a = all(0);
            for (int v = 0; v < NV; v++) a += k->u[t + i][v] * k->w->x_w[v][j];
            k->x[t + i][j] = sum(a);
        }
}

/* The convolution and its activation: u. */
static inline void convolve(Work *k, long circuit, const int back) {
    for (long t = 0; t < k->length; t++) {
        const vec *base = t < D_CONV ? k->w->starts[circuit][1 + t] : k->w->base;
        const real *s = k->scalars + t;
        for (int v = 0; v < NV; v += GROUP) {
            vec c[GROUP], sigma[GROUP];
            for (int i = 0; i < GROUP; i++) {
                c[i] = base[v + i];
                for (int j = 0; j < D_CONV; j++) c[i] += s[j] * k->w->taps[v + i][j];
                sigma[i] = c[i];
            }
            sigmoids(sigma, GROUP);
            for (int i = 0; i < GROUP; i++) {
                vec u = k->u[t][v + i] = c[i] * sigma[i];
                if (back) k->u_slope[t][v + i] = sigma[i] + u * (1 - sigma[i]);
            }
        }
    }
}

/* The steps dt and, to go back, R: the sum of those behind each. */
static inline void find_steps(Work *k, const int back) {
    vec behind[NV] = {};
    for (long t = k->length - 1; t >= 0; t--)
        for (int v = 0; v < NV; v += GROUP) {
            vec raw[GROUP], slope[GROUP];
            for (int i = 0; i < GROUP; i++) {
                raw[i] = k->w->dt_b[v + i];
                for (int r = 0; r < DT_RANK; r++) raw[i] += k->x[t][r] * k->w->dt_w[v + i][r];
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

static inline void read_tokens(Work *k, const real *values, long circuit, const int back) {
    long t = 0, last = k->length - 1;
    memset(k->scalars, 0, sizeof(real) * D_CONV); /* the circuit's own token is no number */
    memcpy(k->scalars + D_CONV, values + 1, sizeof(real) * last);
    convolve(k, circuit, back);
    for (; t < last; t += 2) project(k, t, 2, 0, READ);
    if (t == last) project(k, t, 1, 0, READ);
    project(k, last, 1, READ, PROJECTED);
    find_steps(k, back);
}

/* In one copy for both uses, which compiles sooner. */
static __attribute__((noinline)) void read_to_go_back(Work *k, const real *values, long circuit) {
    read_tokens(k, values, circuit, 1);
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

/* sum_n exp(A_n R) bc_n */
static inline vec decayed(const vec *a, vec behind, const real *bc) {
    vec kernel = all(0);
    int n = 0;
    for (; n + MOST <= D_STATE; n += MOST) {
        vec e[MOST];
        for (int i = 0; i < MOST; i++) e[i] = a[n + i] * behind;
        exp2s(e, MOST);
        for (int i = 0; i < MOST; i++) kernel += e[i] * bc[n + i];
    }
    for (; n < D_STATE; n++) {
        vec e = a[n] * behind;
        exp2s(&e, 1);
        kernel += e * bc[n];
    }
    return kernel;
}

/* mixed: y_L before its gate; gated: behind it; both (batch, D_INNER). Returns 1 without memory, 2
 * for a length or circuit that cannot be. */
int mamba_forward(long batch, long length, long circuits, const real *values,
                  const int64_t *lengths, const int64_t *which, const real *const *weights,
                  real *mixed, real *gated) {
    Work k;
    if (wrong(batch, length, circuits, lengths, which)) return 2;
    if (open_work(&k, length, circuits, 0)) return 1;
    unsigned before = flush();
    pack(k.w, weights, circuits);
    for (long b = 0; b < batch; b++) {
        long last = (k.length = lengths[b]) - 1;
        vec y[NV], out[NV];
        read_tokens(&k, values + b * length + length - k.length, which[b], 0);
        real ones = 0; /* nothing is behind the last */
        for (long t = 0; t <= last; t++)
            for (int n = 0; n < D_STATE; n++) k.x[t][DT_RANK + n] *= k.x[last][READ + n];
        for (int n = 0; n < D_STATE; n++) ones += k.x[last][DT_RANK + n];
        for (int v = 0; v < NV; v++) {
            vec behind = k.dt[last][v];
            y[v] = k.u[last][v] * (ones * behind + k.w->d[v]);
            for (long t = last - 1; t >= 0; t--) {
                vec kernel = decayed(k.w->a[v], behind, k.x[t] + DT_RANK);
                y[v] += kernel * k.dt[t][v] * k.u[t][v];
                behind += k.dt[t][v];
            }
            vec z = gate(&k, which[b], v);
            out[v] = y[v] * z * sigmoid(z);
        }
        memcpy(mixed + b * D_INNER, y, sizeof(real) * D_INNER);
        memcpy(gated + b * D_INNER, out, sizeof(real) * D_INNER);
    }
    restore(before);
    free(k.memory);
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
            vec *base = t + i < D_CONV ? g->starts[circuit][1 + t + i] : g->base;
            du[i] *= k->u_slope[t + i][v]; /* past the activation */
            if (weights) base[v] += du[i];
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
    const real *dc = k->dx[last] + READ;
    for (int v = 0; v < NV; v++) {
        vec u = k->u[last][v], du = all(0);
        for (int n = 0; n < D_STATE; n++) {
            du += dc[n] * k->w->x_w[v][READ + n];
            if (weights) k->g->x_w[v][READ + n] += dc[n] * u;
        }
        k->du[last][v] += du;
    }
}

static inline void back_sequence(Work *k, long circuit, const vec *gy, const int weights) {
    vec later[NV] = {};
    long t = 0, length = k->length;
    memset(k->dx[length - 1] + READ, 0, sizeof(real) * D_STATE);
    for (; t + TOGETHER <= length; t += TOGETHER) back_scan(k, t, TOGETHER, gy, later, weights);
    for (; t < length; t++) back_scan(k, t, 1, gy, later, weights);
    back_outputs(k, weights);
    for (t = 0; t + WIDE <= length; t += WIDE) back_read(k, t, WIDE, circuit, weights);
    for (; t < length; t++) back_read(k, t, 1, circuit, weights);
}

static inline void back_all(Work *k, long batch, long length, const real *values,
                            const int64_t *lengths, const int64_t *which, const real *mixed,
                            const real *grad, real *dvalues, const int weights) {
    vec y[NV] = {}, dy[NV] = {}, gy[NV];
    for (long b = 0; b < batch; b++) {
        long front = length - (k->length = lengths[b]);
        read_to_go_back(k, values + b * length + front, which[b]);
        memset(k->dscalars, 0, sizeof(vec) * (k->length + D_CONV));
        memcpy(y, mixed + b * D_INNER, sizeof(real) * D_INNER);
        memcpy(dy, grad + b * D_INNER, sizeof(real) * D_INNER);
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
    unsigned before = flush();
    pack(k.w, weights, circuits);
    if (dweights) {
        back_all(&k, batch, length, values, lengths, which, mixed, grad, dvalues, 1);
        unpack(k.w, k.g, weights, dweights, circuits);
    } else {
        back_all(&k, batch, length, values, lengths, which, mixed, grad, dvalues, 0);
    }
    restore(before);
    free(k.memory);
    return 0;
}
