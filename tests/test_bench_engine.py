"""The benchmark of the engine: its bare loops give what ngspice gives, its tables what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.engine import rates_table
from bench.engine_circuits import Circuit, bank, loop_deck, op_amp, points, skeleton
from bench.engine_costs import growth, memory, trial_cost
from bench.engine_loops import Batch, LoopProcess
from bench.engine_process import descendants, processor_seconds, resident_bytes
from bench.engine_rates import SUBPROCESS, Bars, Effort, Row, rows
from m3eda.simulate.types import Deck

DECKS = [
    f"* t\n.subckt stage a b\nm1 a b 0 0 nch w={w} l=1e-6 m=2\nr1 a b {r}\n.ends\n"
    f"x1 in out stage\nx2 out end stage\nc1 end 0 {r}\n.op\n.end\n"
    for w, r in (("1e-6", "5"), ("2e-6", "7"), ("1e-6", "9"))
]


@pytest.fixture(scope="module")
def alone() -> Circuit:
    return op_amp(["open_loop"])


def test_words_that_change_together_share_a_parameter():
    made = skeleton(DECKS)
    assert made.parameters == ("bench_0", "bench_1")
    assert list(made.holes.values()) == ["bench_0", "bench_1", "bench_1"]
    assert made.point(DECKS[1]) == ("2e-6", "7")


def test_a_deck_of_another_structure_has_no_values():
    made = skeleton(DECKS)
    assert made.point(DECKS[0].replace("m=2", "")) is None
    assert made.point(DECKS[0].replace("m=2", "m=3")) is None


def test_alter_reaches_every_instance_of_a_subcircuit():
    deck = loop_deck(skeleton(DECKS), Deck(DECKS[0], vectors=("v(end)", "i(v1)")))
    assert deck.devices == (
        ("@m.x1.m1[w]", "@m.x2.m1[w]"),
        ("r.x1.r1", "r.x2.r1", "c1"),
    )
    assert deck.lines[2:4] == (".param bench_0=1e-6", ".param bench_1=5")
    assert "m1 a b 0 0 nch w={bench_0} l=1e-6 m=2" in deck.lines
    assert deck.lines[-2:] == (".save v(end) v1#branch", ".end")


def test_a_value_of_a_subcircuit_cannot_be_altered():
    texts = [f"* t\nx1 in out pfet w={w}\n.op\n.end\n" for w in (1, 2)]
    assert loop_deck(skeleton(texts), Deck(texts[0])).devices == ()


def test_a_ratio_below_its_bar_is_marked():
    found = rates_table(
        [
            Row("fast", 0.5, 0.4, 12.0, 0.8, 10.0, 0.75),
            Row("slow", 2.0, 1.0, 4.0, 0.74, 10.0, 0.75),
        ]
    ).splitlines()
    assert "2000" in found[1]
    assert "12.00 >= 10" in found[1]
    assert "0.80 >= 0.75" in found[1]
    assert "4.00 < 10" in found[2]
    assert "0.74 < 0.75" in found[2]


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads /proc of Linux")
def test_a_child_that_works_is_seen():
    code = "import sys; x = b'x' * 30_000_000; sum(range(3_000_000)); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in descendants(os.getpid())
        assert processor_seconds([child.pid]) > 0.01
        assert resident_bytes([child.pid]) > 30_000_000
        child.communicate(b"\n", timeout=30)
    assert child.pid not in descendants(os.getpid())


@pytest.mark.simulator
def test_every_way_is_measured(alone):
    found = {row.way: row for row in rows(alone, Bars(), Effort(1, 1, 2))}
    wanted = {SUBPROCESS, "bare reset", "bare alter", "engine strict", "engine default, 2"}
    assert wanted <= set(found)
    assert found[SUBPROCESS].over_subprocess == 1.0
    assert all(row.milliseconds > 0.0 and row.processor > 0.0 for row in found.values())
    assert found["bare reset"].of_bare is None


@pytest.mark.simulator
def test_a_loop_that_gives_something_else_stops_the_benchmark(alone):
    [loop] = alone.loops.values()
    other = [line.replace("cl out 0 1e-11", "cl out 0 2e-11") for line in loop.lines]
    false = replace(alone, loops={"open_loop": replace(loop, lines=tuple(other))})
    with pytest.raises(RuntimeError, match=r"reset gives another ac\.out"):
        rows(false, Bars(), Effort(1, 1, 2, pairs=False))


@pytest.mark.simulator
def test_a_loop_that_dies_is_told(alone):
    process = LoopProcess()
    try:
        with pytest.raises(RuntimeError, match="died"):
            process.run(Batch("reset", (("1",),)))
    finally:
        process.close()


@pytest.mark.simulator
def test_a_trial_costs_more_than_its_simulation(alone):
    cost = trial_cost(alone, 10)
    assert cost.trials == 10
    assert cost.simulator_wall > 0.0
    assert 0.0 < cost.outside_processor < cost.processor
    assert cost.spent["rendering"] > 0.0


@pytest.mark.simulator
def test_memory_is_watched_over_as_many_simulations_as_asked(alone):
    watched = memory(alone, strict=False, simulations=40)
    assert watched.simulations == 40
    assert 20.0 < watched.first <= watched.largest


@pytest.mark.simulator
def test_a_bank_has_the_devices_and_parameters_asked_for(tmp_path):
    made = bank(tmp_path, 12, 7)
    [loop] = made.loops.values()
    assert len(loop.parameters) == 7
    assert sum(line[:1] in ("r", "c", "m") for line in loop.lines[1:]) == 12
    assert len(points(made, 3, seed=1)) == 3
    [found] = growth([(4, 4)], Effort(1, 1, 1, pairs=False))
    assert (found.devices, found.parameters) == (4, 4)
    assert {row.way for row in found.rows} >= {SUBPROCESS, "engine strict", "engine default"}
