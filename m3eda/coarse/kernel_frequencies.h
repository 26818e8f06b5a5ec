/* Small signals over frequencies: `Batch.response` and `Batch.noise`. */

typedef struct {
    plan_t plan;
    unsigned char *pattern;
    double complex *matrix, *lu, *given, *found;
} waves_t;

/* The pattern of all sizings' matrices, each size x size, or of those transposed. */
static int waves_open(waves_t *room, long rows, long size, const double *conductance,
                      const double *storage, int transposed) {
    size_t square = (size_t)(size * size);
    memset(room, 0, sizeof *room);
    room->pattern = calloc(square + 1, 1);
    room->matrix = calloc(2 * square + 2 * (size_t)size + 1, sizeof(double complex));
    if (!room->pattern || !room->matrix
        || !plan_open(&room->plan, size, size, room->pattern, sizeof(double complex)))
        return 0;
    room->lu = room->matrix + square;
    room->given = room->lu + square;
    room->found = room->given + size;
    for (long r = 0; r < rows; r++)
        for (long i = 0; i < size; i++)
            for (long j = 0; j < size; j++) {
                long from = (r * size + i) * size + j;
                long to = transposed ? j * size + i : i * size + j;
                room->pattern[to] |= conductance[from] != 0.0 || storage[from] != 0.0;
            }
    plan_begin(&room->plan);
    return 1;
}

static void waves_close(waves_t *room) {
    free(room->pattern);
    free(room->matrix);
    plan_close(&room->plan);
}

/* room->found from room->given, of one sizing at one frequency; nan where it is singular. */
static void waves_solve(waves_t *room, const double *conductance, const double *storage,
                        double omega, int transposed) {
    plan_t *plan = &room->plan;
    long size = plan->size;
    for (long s = 0; s < plan->spot_count; s++) {
        long to = plan->spots[s], from = transposed ? to % size * size + to / size : to;
        room->matrix[to] = CMPLX(conductance[from], omega * storage[from]);
    }
    if (complex_factored(plan, room->matrix, room->lu))
        complex_solve(plan, room->lu, room->given, room->found);
    else
        for (long k = 0; k < size; k++)
            room->found[k] = CMPLX(NAN, NAN);
}

/* omega: rows x count; small: rows x (size + 1); found: rows x count x (size + 1). */
int response(long size, long rows, long count, const double *conductance, const double *storage,
             const double *small, const double *omega, double complex *found) {
    waves_t room;
    int open = waves_open(&room, rows, size, conductance, storage, 0);
    for (long r = 0; open && r < rows; r++)
        for (long f = 0; f < count; f++) {
            for (long k = 0; k < size; k++)
                room.given[k] = small[r * (size + 1) + k];
            waves_solve(&room, conductance + r * size * size, storage + r * size * size,
                        omega[r * count + f], 0);
            double complex *own = found + (r * count + f) * (size + 1);
            memcpy(own, room.found, (size_t)size * sizeof(double complex));
            own[size] = 0.0;
        }
    waves_close(&room);
    return !open;
}

/* What each of `pairs` gives rise to, by the squares of its current's density: `white`, and
 * `flicker` over the frequency in radians, rows x pairs each, between `ends`, pairs x 2. out, gain:
 * rows x count, of `pick`, size + 1, and of the unknown at `source`. */
int noise(long size, long rows, long count, long pairs, const double *conductance,
          const double *storage, const double *omega, const double *pick, const long *ends,
          const double *white, const double *flicker, long source, double *out, double *gain) {
    waves_t room;
    int open = waves_open(&room, rows, size, conductance, storage, 1);
    for (long r = 0; open && r < rows; r++)
        for (long f = 0; f < count; f++) {
            for (long k = 0; k < size; k++)
                room.given[k] = pick[k];
            double w = omega[r * count + f], total = 0.0;
            waves_solve(&room, conductance + r * size * size, storage + r * size * size, w, 1);
            for (long p = 0; p < pairs; p++) {
                long a = ends[2 * p], b = ends[2 * p + 1];
                double complex across = (a < 0 ? 0.0 : room.found[a]) - (b < 0 ? 0.0 : room.found[b]);
                double power = creal(across) * creal(across) + cimag(across) * cimag(across);
                total += power * (white[r * pairs + p] + flicker[r * pairs + p] / w);
            }
            out[r * count + f] = sqrt(total);
            gain[r * count + f] = cabs(room.found[source]);
        }
    waves_close(&room);
    return !open;
}
