"""Benchmarks: each prints a table and writes JSON to bench/results/."""

import os

# before numpy loads: one thread a process, so that CPU times of agents compare
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
    os.environ.setdefault(_name, "1")
