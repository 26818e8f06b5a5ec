/* What solve.py and transient.py do for many sizings, one sizing after the other. kernel.py calls it.
 * All arrays are doubles in C order; a function gives 0, or 1 where there is no memory. */

#include <complex.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_transistor.h"
#include "kernel_batch.h"

#define SCALAR double
#define TIMES(x, y) ((x) * (y))
#define INVERSE(x) (1.0 / (x))
#define SIZE_OF(x) fabs(x)
#define NAME(x) real_##x
#include "kernel_lu.h"
#undef SCALAR
#undef TIMES
#undef INVERSE
#undef SIZE_OF
#undef NAME

/* Without C's care for infinities, which takes longer than all else. */
static inline double complex times(double complex x, double complex y) {
    return CMPLX(creal(x) * creal(y) - cimag(x) * cimag(y),
                 creal(x) * cimag(y) + cimag(x) * creal(y));
}

static inline double complex inverse_of(double complex x) {
    double square = creal(x) * creal(x) + cimag(x) * cimag(x);
    return CMPLX(creal(x) / square, -cimag(x) / square);
}

#define SCALAR double complex
#define TIMES(x, y) times(x, y)
#define INVERSE(x) inverse_of(x)
#define SIZE_OF(x) (fabs(creal(x)) + fabs(cimag(x)))
#define NAME(x) complex_##x
#include "kernel_lu.h"
#undef SCALAR
#undef TIMES
#undef INVERSE
#undef SIZE_OF
#undef NAME

typedef struct {
    double step, close, near, too_far, least_held; /* of solve.py, in capitals there */
    double held, fall;
    long steps, free;
} ramp_t;

static int finite_all(const double *x, long count) {
    for (long k = 0; k < count; k++)
        if (!isfinite(x[k]))
            return 0;
    return 1;
}

static double largest_of(const double *x, const long *places, long count) {
    double largest = 0.0;
    for (long k = 0; k < count; k++) {
        double own = fabs(x[places[k]]);
        if (!(own <= largest))
            largest = own;
        if (isnan(own))
            return own;
    }
    return largest;
}

static double factor_of(double largest, double step) {
    return fmin(1.0, step / fmax(largest, 1e-30));
}

/* Rooms for one sizing after the other. */
typedef struct {
    sizing_t one;
    plan_t plan;
    unsigned char *pattern;
    int *columns, *columns_end;              /* of the pattern, by rows */
    double *matrix, *lu, *storage, *vectors; /* width x width; 8 of width */
} room_t;

static int room_open(room_t *room, const batch_t *of, long rows, const long *row, int storage) {
    size_t width = (size_t)of->size + 1, square = width * width;
    memset(room, 0, sizeof *room);
    room->pattern = malloc(square);
    room->columns = malloc((square + width) * sizeof(int));
    room->matrix = malloc((3 * square + 8 * width) * sizeof(double));
    if (!room->pattern || !room->columns || !room->matrix || !sizing_open(&room->one, of)
        || !plan_open(&room->plan, of->size, (long)width, room->pattern, sizeof(double)))
        return 0;
    room->lu = room->matrix + square;
    room->storage = room->lu + square;
    room->vectors = room->storage + square;
    pattern_of(&room->one, rows, row, storage, room->pattern);
    room->columns_end = room->columns + square;
    int *column = room->columns;
    for (long i = 0; i < of->size; i++) {
        for (long j = 0; j < of->size; j++)
            if (room->pattern[i * of->size + j])
                *column++ = (int)j;
        room->columns_end[i] = (int)(column - room->columns);
    }
    plan_begin(&room->plan);
    return 1;
}

static void room_close(room_t *room) {
    free(room->pattern);
    free(room->columns);
    free(room->matrix);
    sizing_close(&room->one);
    plan_close(&room->plan);
}

/* `Batch._newton` of one sizing: 1 where it converges. */
static int newton_one(room_t *room, const ramp_t *ramp, double *x) {
    sizing_t *one = &room->one;
    const batch_t *of = one->of;
    double *residual = room->vectors, *change = residual + one->width;
    double hold = ramp->held;
    for (long step = 0; step < ramp->steps + ramp->free; step++) {
        sizing_evaluate(one, x);
        sizing_residual(one, x, residual);
        sizing_conductances(one, room->matrix);
        for (long k = 0; k < of->nets; k++)
            room->matrix[of->net_places[k] * (one->width + 1)] += hold;
        if (!real_factored(&room->plan, room->matrix, room->lu))
            return 0;
        for (long k = 0; k < of->size; k++)
            residual[k] = -residual[k];
        real_solve(&room->plan, room->lu, residual, change);
        double largest = largest_of(change, of->inner_places, of->inner);
        if (isnan(largest))
            return 0;
        double factor = factor_of(largest, ramp->step);
        for (long k = 0; k < of->size; k++)
            x[k] += factor * change[k];
        for (long k = 0; k < of->outer; k++) {
            double *own = x + of->outer_places[k];
            *own = fmin(fmax(*own, of->low[one->row]), of->high[one->row]);
        }
        if (hold == 0.0 && largest < ramp->close)
            return finite_all(x, of->size);
        if (ramp->fall != 0.0) {
            hold = step < ramp->steps ? ramp->held * pow(ramp->fall, (double)step) : 0.0;
        } else {
            double grown = largest > ramp->too_far ? 4.0 : largest < ramp->near ? 0.1 : 0.5;
            hold = fmin(hold * grown, ramp->held);
            if (hold < ramp->least_held)
                hold = 0.0;
        }
    }
    return 0;
}

/* x: rows x (size + 1), in and out; done: rows. */
int newton(const batch_t *of, const ramp_t *ramp, long rows, const long *row, double *x,
           unsigned char *done) {
    room_t room;
    int open = room_open(&room, of, rows, row, 0);
    for (long r = 0; open && r < rows; r++) {
        sizing_begin(&room.one, row[r]);
        done[r] = (unsigned char)newton_one(&room, ramp, x + r * (of->size + 1));
        if (!done[r])
            for (long k = 0; k < of->size; k++)
                x[r * (of->size + 1) + k] = NAN;
    }
    room_close(&room);
    return !open;
}

/* Conductances and storage at x, rows x size x size each; of transistors what `Point` has, 7 x rows
 * x transistors. */
int small_signal(const batch_t *of, long rows, const long *row, const double *x,
                 double *conductance, double *storage, double *points) {
    room_t room;
    int open = room_open(&room, of, 0, row, 0);
    long size = of->size, width = size + 1, m = of->transistors;
    for (long r = 0; open && r < rows; r++) {
        sizing_begin(&room.one, row[r]);
        sizing_evaluate(&room.one, x + r * width);
        sizing_conductances(&room.one, room.matrix);
        sizing_capacitances(&room.one, room.storage);
        for (long i = 0; i < size; i++) {
            memcpy(conductance + (r * size + i) * size, room.matrix + i * width,
                   (size_t)size * sizeof(double));
            memcpy(storage + (r * size + i) * size, room.storage + i * width,
                   (size_t)size * sizeof(double));
        }
        for (int p = 0; p < 7; p++) /* they lie one behind the other */
            memcpy(points + (p * rows + r) * m, room.one.at.current + p * room.one.lanes,
                   (size_t)m * sizeof(double));
    }
    room_close(&room);
    return !open;
}

#include "kernel_frequencies.h"
#include "kernel_time.h"
