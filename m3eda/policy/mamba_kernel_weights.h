/* Where the kernel keeps what it works on, and how weights get there and gradients back. */

/* The order of pointers to weights and to their gradients. */
enum { HEADS, CONV_W, CONV_B, X_W, DT_W, DT_B, A, D };

#define READ (DT_RANK + D_STATE)   /* what x_proj gives that every token needs: dt, B */
#define PROJECTED (READ + D_STATE) /* and C, of the last one only */

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

static size_t cut(size_t *at, size_t bytes) {
    size_t here = *at;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static int open_work(Work *k, long length, long circuits, int back) {
    size_t at = 0, weights = sizeof(Weights) + sizeof(vec) * (1 + D_CONV) * NV * circuits, row[6];
    size_t w = cut(&at, weights), g = back ? cut(&at, weights) : w, end_of_weights = at;
    size_t s = cut(&at, sizeof(real) * (length + D_CONV));
    size_t ds = cut(&at, sizeof(vec) * (length + D_CONV));
    size_t x = cut(&at, sizeof(real) * PROJECTED * length);
    size_t dx = cut(&at, sizeof(real) * PROJECTED * length);
    for (int i = 0; i < 6; i++) row[i] = i < 2 || back ? cut(&at, sizeof(vec) * NV * length) : w;
    char *m = k->memory = aligned_alloc(64, at);
    if (!m) return 1;
    memset(m, 0, end_of_weights);
    k->w = (Weights *)(m + w), k->g = (Weights *)(m + g);
    k->scalars = (real *)(m + s), k->dscalars = (vec *)(m + ds);
    k->x = (void *)(m + x), k->dx = (void *)(m + dx);
    k->u = (void *)(m + row[0]), k->dt = (void *)(m + row[1]);
    k->u_slope = (void *)(m + row[2]), k->dt_slope = (void *)(m + row[3]);
    k->behind = (void *)(m + row[4]), k->du = (void *)(m + row[5]);
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
    for (int j = 0; j < PROJECTED; j++)
        add(to[X_W] + (long)j * D_INNER, 1, g->x_w[0], PROJECTED, j);
    for (int r = 0; r < DT_RANK; r++) add(to[DT_W] + r, DT_RANK, g->dt_w[0], DT_RANK, r);
    for (int n = 0; n < D_STATE; n++) add(to[A] + n, D_STATE, g->a[0], D_STATE, n);
    add(to[CONV_B], 1, dbias, 1, 0);
    add(to[DT_B], 1, g->dt_b, 1, 0);
    add(to[D], 1, g->d, 1, 0);
}
