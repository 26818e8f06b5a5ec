/* Sizings of one deck as solve.py's Batch has them; kernel.py fills the structures in. */

typedef struct {
    long size;                  /* unknowns; ground is one more, the last */
    long nets, inner, outer, transistors, sources;
    const long *net_places;     /* of nets; of those of transistors; of drains and sources */
    const long *inner_places, *outer_places;
    const long *places;         /* transistors x 4: drain, gate, source, bulk; -1 is ground */
    const double *sign;         /* of each transistor */
    const double *conductance, *storage; /* sizings x (size + 1) x (size + 1) */
    const double *forced;       /* sizings x (size + 1) */
    const double *numbers[NUMBERS];   /* sizings x transistors each, as these: */
    const double *gate, *overlap, *junction, *faint;
    const double *low, *high;   /* sizings: bounds of voltages of drains and sources */
    double thermal, triode;     /* kT/q and TRIODE of solve.py, V */
    /* for transients, sources x sizings x times, by how much each is above its DC value, and where
     * that goes to, and with another sign */
    const double *moved;
    const long *plus, *minus;
} batch_t;

/* One sizing. */
typedef struct {
    const batch_t *of;
    long row, width;            /* size + 1 */
    const double *conductance, *forced;
    const double *storage;
    int *spots, *spots_end;     /* columns that are not 0 of each row of conductance */
    points_t at;                /* transistors as evaluated */
    long lanes;                 /* transistors and idle ones, a multiple of LANES */
    double *numbers[NUMBERS], *vgs, *vds, *vbs;
    long *places;               /* of transistors, ground as the last */
} sizing_t;

static int sizing_open(sizing_t *one, const batch_t *of) {
    long width = of->size + 1;
    memset(one, 0, sizeof *one);
    one->of = of;
    one->width = width;
    one->spots = malloc((size_t)(width * width + width) * sizeof(int));
    one->places = malloc((size_t)(4 * of->transistors + 1) * sizeof(long));
    one->lanes = (of->transistors + LANES - 1) / LANES * LANES;
    double *values = one->at.current = malloc((size_t)(22 * one->lanes + 1) * sizeof(double));
    if (!one->spots || !values || !one->places)
        return 0;
    double **parts[] = {&one->at.gm, &one->at.gds, &one->at.gmb, &one->at.saturation,
                        &one->at.pinched, &one->at.overdrive, &one->vgs, &one->vds, &one->vbs};
    for (int k = 0; k < 9; k++)
        *parts[k] = values + (k + 1) * one->lanes;
    for (int k = 0; k < NUMBERS; k++)
        one->numbers[k] = values + (k + 10) * one->lanes;
    for (long k = 0; k < 22 * one->lanes; k++)
        values[k] = 1.0;
    one->spots_end = one->spots + width * width;
    for (long k = 0; k < 4 * of->transistors; k++)
        one->places[k] = of->places[k] < 0 ? of->size : of->places[k];
    return 1;
}

static void sizing_close(sizing_t *one) {
    free(one->spots);
    free(one->at.current);
    free(one->places);
}

static void sizing_begin(sizing_t *one, long row) {
    const batch_t *of = one->of;
    one->row = row;
    one->conductance = of->conductance + row * one->width * one->width;
    one->storage = of->storage + row * one->width * one->width;
    one->forced = of->forced + row * one->width;
    for (int k = 0; k < NUMBERS; k++)
        memcpy(one->numbers[k], of->numbers[k] + row * of->transistors,
               (size_t)of->transistors * sizeof(double));
    int *spot = one->spots;
    for (long i = 0; i < one->width; i++) {
        const double *own = one->conductance + i * one->width;
        for (long j = 0; j < of->size; j++)
            if (own[j] != 0.0)
                *spot++ = (int)j;
        one->spots_end[i] = (int)(spot - one->spots);
    }
}

/* Everything about transistors at x. */
static void sizing_evaluate(sizing_t *one, const double *x) {
    const batch_t *of = one->of;
    for (long k = 0; k < of->transistors; k++) {
        const long *p = one->places + 4 * k;
        double sign = of->sign[k], source = sign * x[p[2]];
        one->vgs[k] = sign * x[p[1]] - source;
        one->vds[k] = sign * x[p[0]] - source;
        one->vbs[k] = sign * x[p[3]] - source;
    }
    evaluate(one->lanes, one->numbers, one->vgs, one->vds, one->vbs, of->thermal, &one->at);
}

/* Currents out of nets, and voltages missed, at x, transistors as evaluated. */
static void sizing_residual(const sizing_t *one, const double *x, double *found) {
    int spot = 0;
    for (long i = 0; i < one->width; i++) {
        double sum = 0.0;
        const double *own = one->conductance + i * one->width;
        for (; spot < one->spots_end[i]; spot++)
            sum += own[one->spots[spot]] * x[one->spots[spot]];
        found[i] = sum - one->forced[i];
    }
    for (long k = 0; k < one->of->transistors; k++) {
        double into = one->of->sign[k] * one->at.current[k];
        found[one->places[4 * k]] += into;
        found[one->places[4 * k + 2]] -= into;
    }
}

/* Conductances of all, width x width. */
static void sizing_conductances(const sizing_t *one, double *found) {
    long width = one->width;
    memcpy(found, one->conductance, (size_t)(width * width) * sizeof(double));
    for (long k = 0; k < one->of->transistors; k++) {
        const long *p = one->places + 4 * k;
        double gm = one->at.gm[k], gds = one->at.gds[k], gmb = one->at.gmb[k];
        double total = gm + gds + gmb;
        double *drain = found + p[0] * width, *source = found + p[2] * width;
        drain[p[1]] += gm;
        drain[p[0]] += gds;
        drain[p[3]] += gmb;
        drain[p[2]] -= total;
        source[p[1]] -= gm;
        source[p[0]] -= gds;
        source[p[3]] -= gmb;
        source[p[2]] += total;
    }
}

static inline void capacitance(double *found, long width, long one, long other, double value) {
    found[one * width + one] += value;
    found[other * width + other] += value;
    found[one * width + other] -= value;
    found[other * width + one] -= value;
}

/* Capacitances of all, width x width: `Batch._capacitances`. */
static void sizing_capacitances(const sizing_t *one, double *found) {
    const batch_t *of = one->of;
    long width = one->width;
    memcpy(found, one->storage, (size_t)(width * width) * sizeof(double));
    for (long k = 0; k < of->transistors; k++) {
        const long *p = one->places + 4 * k, spot = one->row * of->transistors + k;
        double share = fmin(fmax(one->at.pinched[k], 0.0), 1.0);
        double flow = fabs(one->at.current[k]) + of->triode * fabs(one->at.gds[k]);
        double on = flow / (flow + of->faint[spot]), gate = of->gate[spot];
        double overlap = of->overlap[spot], junction = of->junction[spot];
        capacitance(found, width, p[1], p[2],
                    gate * on * (2.0 / 3.0 - share / 6.0) + overlap);
        capacitance(found, width, p[1], p[0], gate * on * 0.5 * share + overlap);
        capacitance(found, width, p[1], p[3], gate * (0.5 * (1.0 - on) + 0.08));
        capacitance(found, width, p[0], p[3], junction);
        capacitance(found, width, p[2], p[3], junction);
    }
}

/* What may differ from 0 for any sizing, size x size: conductances, and storage where asked for. */
static void pattern_of(const sizing_t *one, long rows, const long *row, int storage,
                       unsigned char *pattern) {
    const batch_t *of = one->of;
    long size = of->size, width = one->width;
    memset(pattern, 0, (size_t)(size * size));
    for (long r = 0; r < rows; r++) {
        long offset = (row ? row[r] : r) * width * width;
        const double *g = of->conductance + offset, *c = of->storage + offset;
        for (long i = 0; i < size; i++)
            for (long j = 0; j < size; j++)
                pattern[i * size + j] |=
                    g[i * width + j] != 0.0 || (storage && c[i * width + j] != 0.0);
    }
    for (long k = 0; k < of->nets; k++)
        pattern[of->net_places[k] * (size + 1)] = 1;
    for (long k = 0; k < of->transistors; k++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                long a = one->places[4 * k + i], b = one->places[4 * k + j];
                if (a < size && b < size && (storage || (i != 1 && i != 3)))
                    pattern[a * size + b] = 1;
            }
}
