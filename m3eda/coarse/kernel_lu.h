/* Sparse LU of matrices of one pattern, for numbers SCALAR with TIMES(x, y), INVERSE(x) and
 * SIZE_OF(x), its magnitude, and NAME(x) the functions' names: included once for each kind.
 *
 * Which pivots are taken is found once, by Markowitz' count among those that are large enough in
 * their column (Duff, Erisman and Reid, "Direct methods for sparse matrices", 1986, chapter 7), and
 * kept as long as pivots stay large enough. Matrices are dense arrays of which only the places of
 * `spots` are read and written. */

#ifndef KERNEL_PLAN
#define KERNEL_PLAN
static const double LARGE = 0.1, ENOUGH = 1e-3; /* of a column's largest: to be chosen, to stay */

typedef struct {
    long size, stride, known;
    const unsigned char *pattern;            /* size x size */
    int *row, *column;                       /* of each pivot */
    int *lower, *lower_end, *upper, *upper_end; /* rows below, columns behind each pivot */
    int *spots;                              /* offsets of all that is not 0, filled in or not */
    long spot_count;
    unsigned char *filled;
    int *rows_left, *columns_left;
    void *work;
} plan_t;

static int plan_open(plan_t *plan, long size, long stride, const unsigned char *pattern,
                     size_t scalar) {
    size_t s = (size_t)size, ints = 4 * s + 2 * s * s + s * s + 2 * s;
    memset(plan, 0, sizeof *plan);
    plan->size = size;
    plan->stride = stride;
    plan->pattern = pattern;
    plan->row = malloc((ints + 1) * sizeof(int));
    plan->filled = malloc(s * s + 1);
    plan->work = malloc(s * (size_t)stride * scalar + 1);
    if (!plan->row || !plan->filled || !plan->work)
        return 0;
    plan->column = plan->row + s;
    plan->lower_end = plan->column + s;
    plan->upper_end = plan->lower_end + s;
    plan->rows_left = plan->upper_end + s;
    plan->columns_left = plan->rows_left + s;
    plan->lower = plan->columns_left + s;
    plan->upper = plan->lower + s * s;
    plan->spots = plan->upper + s * s;
    return 1;
}

static void plan_close(plan_t *plan) {
    free(plan->row);
    free(plan->filled);
    free(plan->work);
}

static void plan_list_spots(plan_t *plan) {
    plan->spot_count = 0;
    for (long i = 0; i < plan->size; i++)
        for (long j = 0; j < plan->size; j++)
            if (plan->filled[i * plan->size + j])
                plan->spots[plan->spot_count++] = (int)(i * plan->stride + j);
}

/* Before the first matrix: all of the pattern. */
static void plan_begin(plan_t *plan) {
    plan->known = 0;
    memcpy(plan->filled, plan->pattern, (size_t)(plan->size * plan->size));
    plan_list_spots(plan);
}
#endif

/* Which pivots `given` asks for; 0 where it is singular. */
static int NAME(plan)(plan_t *plan, const SCALAR *given) {
    long n = plan->size, stride = plan->stride, below = 0, behind = 0;
    SCALAR *a = plan->work;
    unsigned char *filled = plan->filled;
    int *rows = plan->rows_left, *columns = plan->columns_left;
    memcpy(filled, plan->pattern, (size_t)(n * n));
    for (long i = 0; i < n; i++) {
        rows[i] = columns[i] = (int)i;
        for (long j = 0; j < n; j++)
            a[i * stride + j] = plan->pattern[i * n + j] ? given[i * stride + j] : 0.0;
    }
    plan->known = 0;
    for (long k = 0; k < n; k++) {
        long best_i = -1, best_j = -1, least = LONG_MAX;
        double best = 0.0;
        long counts[n];
        for (long i = k; i < n; i++) {
            counts[i] = -1;
            for (long j = k; j < n; j++)
                counts[i] += filled[rows[i] * n + columns[j]];
        }
        for (long j = k; j < n; j++) {
            double largest = 0.0;
            long count = -1;
            for (long i = k; i < n; i++) {
                largest = greater(largest, SIZE_OF(a[rows[i] * stride + columns[j]]));
                count += filled[rows[i] * n + columns[j]];
            }
            for (long i = k; i < n; i++) {
                double own = SIZE_OF(a[rows[i] * stride + columns[j]]);
                long cost = count * counts[i];
                if (own > 0.0 && own >= LARGE * largest
                    && (cost < least || (cost == least && own > best))) {
                    least = cost;
                    best = own;
                    best_i = i;
                    best_j = j;
                }
            }
        }
        if (best_i < 0)
            return 0;
        int r = rows[best_i], c = columns[best_j];
        rows[best_i] = rows[k];
        rows[k] = r;
        columns[best_j] = columns[k];
        columns[k] = c;
        plan->row[k] = r;
        plan->column[k] = c;
        for (long j = k + 1; j < n; j++)
            if (filled[r * n + columns[j]])
                plan->upper[behind++] = columns[j];
        for (long i = k + 1; i < n; i++)
            if (filled[rows[i] * n + c]) {
                SCALAR factor = TIMES(a[rows[i] * stride + c], INVERSE(a[r * stride + c]));
                plan->lower[below++] = rows[i];
                for (long u = k ? plan->upper_end[k - 1] : 0; u < behind; u++) {
                    int j = plan->upper[u];
                    a[rows[i] * stride + j] -= TIMES(factor, a[r * stride + j]);
                    filled[rows[i] * n + j] = 1;
                }
            }
        plan->lower_end[k] = (int)below;
        plan->upper_end[k] = (int)behind;
    }
    plan_list_spots(plan);
    plan->known = 1;
    return 1;
}

/* In place, pivots as their inverses; 0 where a pivot of the plan is too small. */
static int NAME(factor)(const plan_t *plan, SCALAR *a) {
    long stride = plan->stride;
    int low = 0, up = 0;
    for (long k = 0; k < plan->size; k++) {
        int c = plan->column[k], low_end = plan->lower_end[k], up_end = plan->upper_end[k];
        SCALAR *own = a + plan->row[k] * stride;
        double largest = 0.0, pivot = SIZE_OF(own[c]);
        for (int i = low; i < low_end; i++)
            largest = greater(largest, SIZE_OF(a[plan->lower[i] * stride + c]));
        if (!(pivot > 0.0 && pivot >= ENOUGH * largest))
            return 0;
        SCALAR inverse = own[c] = INVERSE(own[c]);
        for (int i = low; i < low_end; i++) {
            SCALAR *other = a + plan->lower[i] * stride;
            SCALAR factor = TIMES(other[c], inverse);
            other[c] = factor;
            for (int u = up; u < up_end; u++)
                other[plan->upper[u]] -= TIMES(factor, own[plan->upper[u]]);
        }
        low = low_end;
        up = up_end;
    }
    return 1;
}

/* x from a that `factor` has left; b is used up. */
static void NAME(solve)(const plan_t *plan, const SCALAR *a, SCALAR *b, SCALAR *x) {
    long stride = plan->stride;
    int low = 0;
    for (long k = 0; k < plan->size; k++) {
        SCALAR own = b[plan->row[k]];
        int c = plan->column[k];
        for (; low < plan->lower_end[k]; low++)
            b[plan->lower[low]] -= TIMES(a[plan->lower[low] * stride + c], own);
    }
    for (long k = plan->size - 1; k >= 0; k--) {
        const SCALAR *row = a + plan->row[k] * stride;
        SCALAR own = b[plan->row[k]];
        for (int u = k ? plan->upper_end[k - 1] : 0; u < plan->upper_end[k]; u++)
            own -= TIMES(row[plan->upper[u]], x[plan->upper[u]]);
        x[plan->column[k]] = TIMES(own, row[plan->column[k]]);
    }
}

/* `factor` of a copy of `given` in `a`, with other pivots where it needs them; 0 where it is
 * singular. */
static int NAME(factored)(plan_t *plan, const SCALAR *given, SCALAR *a) {
    for (int turn = 0; turn < 2; turn++) {
        if (plan->known) {
            for (long s = 0; s < plan->spot_count; s++)
                a[plan->spots[s]] = given[plan->spots[s]];
            if (NAME(factor)(plan, a))
                return 1;
        }
        if (turn || !NAME(plan)(plan, given))
            break;
    }
    plan_begin(plan);
    return 0;
}
