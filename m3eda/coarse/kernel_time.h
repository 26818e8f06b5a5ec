/* Steps in time: transient.py tells what and why. */

typedef struct {
    double weight, close, same, step, shortest; /* of transient.py, in capitals there */
    long rounds, tired;
    const unsigned char *fresh;                 /* rounds: begins it with new derivatives */
} stepping_t;

/* Currents out of nets, and voltages missed, at the time of index k, transistors as evaluated. */
static void residual_at(const sizing_t *one, const double *x, long k, long times, long count,
                        double *found) {
    const batch_t *of = one->of;
    sizing_residual(one, x, found);
    for (long s = 0; s < of->sources; s++) {
        double level = of->moved[(s * count + one->row) * times + k];
        found[of->plus[s]] += level;
        found[of->minus[s]] -= level;
    }
}

/* The matrix of steps of `length`, factored, at what was evaluated. */
static int stepping(room_t *room, double weight, double length) {
    long width = room->one.width, size = room->plan.size;
    int spot = 0;
    sizing_conductances(&room->one, room->matrix);
    for (long i = 0; i < size; i++)
        for (; spot < room->columns_end[i]; spot++) {
            long at = i * width + room->columns[spot];
            room->matrix[at] = room->storage[at] / length + weight * room->matrix[at];
        }
    return real_factored(&room->plan, room->matrix, room->lu);
}

/* One sizing from found[0] on; what was not found is left. */
static void run(room_t *room, const stepping_t *by, const double *time, long times, long count,
                double *found) {
    sizing_t *one = &room->one;
    const batch_t *of = one->of;
    long width = one->width, size = of->size;
    double *before = room->vectors, *after = before + width, *missed = after + width;
    double *change = missed + width, *now = change + width, *x = now + width, length_before = 0.0;
    int known = 0;
    memcpy(x, found, (size_t)width * sizeof(double));
    memcpy(now, x, (size_t)width * sizeof(double));
    sizing_evaluate(one, x);
    residual_at(one, x, 0, times, count, before);
    for (long k = 1; k < times; k++) {
        double length = time[k] - time[k - 1];
        if (length > 0.0) {
            length = fmax(length, by->shortest * time[times - 1]);
            sizing_capacitances(one, room->storage); /* transistors were evaluated at x */
            if (!known || !(fabs(length_before - length) <= by->same * length)) {
                if (!stepping(room, by->weight, length))
                    return;
                known = 1;
                length_before = length;
            }
            long turn = 0;
            int done = 0;
            for (; turn < by->rounds && !done; turn++) {
                if (turn)
                    sizing_evaluate(one, now);
                residual_at(one, now, k, times, count, after);
                int spot = 0;
                for (long i = 0; i < size; i++)
                    change[i] = now[i] - x[i];
                for (long i = 0; i < size; i++) {
                    double moved = 0.0;
                    for (; spot < room->columns_end[i]; spot++)
                        moved += room->storage[i * width + room->columns[spot]]
                            * change[room->columns[spot]];
                    missed[i] = -(moved / length + by->weight * after[i]
                                  + (1.0 - by->weight) * before[i]);
                }
                if (by->fresh[turn] && !stepping(room, by->weight, length))
                    return;
                real_solve(&room->plan, room->lu, missed, change);
                double largest = largest_of(change, of->net_places, of->nets);
                if (isnan(largest))
                    return;
                double factor = factor_of(largest, by->step);
                for (long i = 0; i < size; i++)
                    now[i] += factor * change[i];
                done = largest < by->close;
            }
            if (turn > by->tired)
                known = 0;
            if (!done || !finite_all(now, size))
                return;
            sizing_evaluate(one, now);
            residual_at(one, now, k, times, count, before);
            memcpy(x, now, (size_t)width * sizeof(double));
        }
        memcpy(found + k * width, x, (size_t)width * sizeof(double));
    }
}

/* time: sizings x times; found: sizings x times x (size + 1), nan but for the first time. */
int transient(const batch_t *of, const stepping_t *by, long count, long times, const double *time,
              double *found) {
    room_t room;
    int open = room_open(&room, of, count, NULL, 1);
    for (long r = 0; open && r < count; r++) {
        double *own = found + r * times * (of->size + 1);
        if (!finite_all(own, of->size))
            continue;
        sizing_begin(&room.one, r);
        run(&room, by, time + r * times, times, count, own);
    }
    room_close(&room);
    return !open;
}
