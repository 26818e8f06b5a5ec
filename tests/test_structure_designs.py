"""Decks of all kinds held against the library: in time, alike in each process, whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.test_structure import cells_of

ORDER = """
from m3eda.structure.alike import overlays
from tests.test_structure import cells_of
lines = ["* bridged", "rx a b 1"] + [f"m{k} {'ab'[k % 2]} i{k} t 0 nch w=1u l=1u" for k in range(4)]
[cell] = cells_of("\\n".join(lines))
print([sorted(each.items()) for each in overlays(cell, cell)])
"""


def test_a_deck_of_parasitics_is_read_in_no_time():
    lines = ["* extracted", "m1 a0 a0 0 0 nch w=1u l=1u"]
    for k in range(1000):
        lines += [f"r{k} a{k} b{k} 10", f"c{k} b{k} 0 1f", f"w{k} a{k} a{k + 1} 1"]
    begun = time.process_time()
    [cell] = cells_of("\n".join(lines).replace("\nw", "\nrw"))
    assert time.process_time() - begun < 5.0
    assert dict(cell.counts) == {"nmos": 1, "cr": 1000, "r": 1000}


def test_ways_to_lie_over_come_in_one_order_in_every_process():
    found = {
        subprocess.run([sys.executable, "-c", ORDER], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True, timeout=60).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(found) == 1
    assert found.pop().count("[(") == 8
