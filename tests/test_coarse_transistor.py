"""Transistors of the coarse model: derivatives, symmetry, temperatures, and fits held against
currents of the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3eda.circuits.opening import open_circuit
from m3eda.coarse.characterise import Wanted, models_of
from m3eda.coarse.model import Coarse
from m3eda.coarse.transistor import KELVIN, Kind, Numbers, point
from m3eda.policy.transistors import SimulatedTransistors
from tests.coarse_samples import only, solved, spice

NUMBERS = Numbers(
    *(np.array(each) for each in (0.45, 1.3, 0.4, 2e-6, 0.8, 0.2, 2.0, 0.5, 0.02, 4.0, 0.01, 0.4))
)
KIND = Kind(1.0, np.log([0.2e-6, 2e-6]), np.array([
    [0.45, 1.3, 0.4, np.log(2e-6), np.log(0.8), np.log(0.2), 2.0, 0.5, np.log(0.02),
     np.log(4.0), np.log(0.01), np.log(0.4)],
    [0.42, 1.25, 0.45, np.log(2e-7), np.log(6.0), np.log(0.3), 4.0, 0.3, np.log(0.002),
     np.log(4.0), np.log(0.01), np.log(0.4)],
]), 4e-6, 8e-3, 3e-10, 8e-10, 1e-24, 2.0, 300.15)  # fmt: skip
STEP = 1e-6


@pytest.mark.parametrize("vbs", [0.0, -0.6, 0.2])
@pytest.mark.parametrize("vds", [0.8, 0.15, 0.02, -0.02, -0.15, -0.8])
@pytest.mark.parametrize("vgs", [0.2, 0.5, 0.9, 1.6])
def test_derivatives_are_those_of_the_current(vgs, vds, vbs):
    def current(*moved):
        at = [np.array(v + m) for v, m in zip((vgs, vds, vbs), moved, strict=True)]
        return float(point(NUMBERS, *at, 300.15).current)

    at = point(NUMBERS, np.array(vgs), np.array(vds), np.array(vbs), 300.15)
    for found, k in ((at.gm, 0), (at.gds, 1), (at.gmb, 2)):
        move = STEP * np.eye(3)[k]
        expected = (current(*move) - current(*-move)) / (2.0 * STEP)
        scale = abs(current(0.0, 0.0, 0.0)) + 1e-15
        assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4 * scale)


def test_drain_and_source_may_be_exchanged():
    forth = point(NUMBERS, np.array(1.0), np.array(0.3), np.array(-0.2), 300.15)
    back = point(NUMBERS, np.array(0.7), np.array(-0.3), np.array(-0.5), 300.15)
    assert back.current == pytest.approx(-forth.current, rel=1e-12)


def test_no_current_without_drain_voltage():
    at = point(NUMBERS, np.array(1.0), np.array(0.0), np.array(0.0), 300.15)
    assert abs(float(at.current)) < 1e-12
    assert float(at.gds) > 1e-5


def test_width_and_length():
    one = KIND.at(np.array([4e-6, 8e-6]), np.array([0.2e-6, 0.2e-6]))
    assert one.current[1] == pytest.approx(2.0 * one.current[0])
    between = KIND.at(np.array([4e-6]), np.array([np.sqrt(0.2e-6 * 2e-6)]))
    assert between.threshold[0] == pytest.approx(0.435)


def test_temperatures_beside():
    warm = Kind(**{**vars(KIND), "kelvin": 400.15, "numbers": KIND.numbers - 0.1})
    cold = Kind(**{**vars(KIND), "kelvin": 200.15, "numbers": KIND.numbers + 0.2})
    both = KIND.beside(warm).beside(cold)
    for kelvin, moved in ((300.15, 0.0), (350.15, -0.05), (400.15, -0.1), (250.15, 0.1)):
        found = both.heated(kelvin)
        assert found.kelvin == kelvin
        assert np.allclose(found.numbers - KIND.numbers, moved)


def test_a_follower_of_known_transistors_is_solved():
    text = "v1 d 0 1.8\nv2 g 0 <0>\nm1 d g s 0 nch w=4u l=0.2u\ni1 s 0 10u\n.op"
    for waves in solved(text, ["v(s)"], [(1.0,), (1.5,)], {"nch": KIND}, ["@m1[id]", "@m1[gm]"]):
        values = only(waves, "op").vectors
        assert values["@m1[id]"][0] == pytest.approx(10e-6, rel=1e-4)
        assert 1e-4 < values["@m1[gm]"][0] < 3e-4


@pytest.fixture(scope="module", params=["generic180", "generic45", "generic22"])
def fitted(request):
    """Technology, its models' text, what was fitted, and the design it was fitted for."""
    project = open_circuit("five_transistor_ota", request.param)
    transistors = SimulatedTransistors(project.simulator(), "")
    told = {}

    def spied(wanted, circuit, supply, celsius):
        told.update(text=models_of(circuit, celsius)[0], wanted=wanted, supply=supply)
        return transistors(wanted, circuit, supply, celsius)

    coarse = Coarse(project.design, project.plugins.measures, spied)
    return request.param, told, coarse.kinds


def points(each: Wanted, supply: float, count: int) -> np.ndarray:
    """Widths, lengths, and voltages of gate, drain and bulk, shape (5, count)."""
    rng = np.random.default_rng(2)
    share = rng.random((5, count))
    ends = [(each.narrowest, each.widest), (each.shortest, each.longest)]
    width, length = (a * (b / a) ** row for (a, b), row in zip(ends, share, strict=False))
    return np.array([width, length, supply * (0.25 + 0.75 * share[2]),
                     supply * (0.05 + 0.95 * share[3]), -0.3 * supply * share[4]])  # fmt: skip


BOUNDS = {"generic180": (0.03, 0.09), "generic45": (0.06, 0.15), "generic22": (0.05, 0.12)}
"""Median and 90th percentile of the error of currents, as measured and a little more."""


@pytest.mark.simulator
def test_fits_follow_the_simulator(fitted):
    name, told, kinds = fitted
    for each in told["wanted"]:
        found = points(each, told["supply"], 60)
        lines, sign = [told["text"]], kinds[each.model].sign
        for k, (width, length, vgs, vds, vbs) in enumerate(found.T):
            lines += [f"vd{k} d{k} 0 {sign * vds}", f"vg{k} g{k} 0 {sign * vgs}",
                      f"vb{k} b{k} 0 {sign * vbs}",
                      f"m{k} d{k} g{k} 0 b{k} {each.model} w={width} l={length}"]  # fmt: skip
        waves = spice("\n".join([*lines, ".op"]), [f"i(vd{k})" for k in range(60)])
        theirs = np.array([-sign * float(only(waves, "op").vectors[f"i(vd{k})"][0].real)
                           for k in range(60)])  # fmt: skip
        numbers = kinds[each.model].at(found[0], found[1])
        ours = point(numbers, *found[2:], KELVIN + 27.0).current
        flowing = theirs > 1e-8 * found[0] / found[1]
        errors = np.abs(ours / theirs - 1.0)[flowing]
        median, most = BOUNDS[name]
        assert flowing.sum() >= 40
        assert np.median(errors) < median
        assert np.quantile(errors, 0.9) < most


class Counted:
    """A simulator that counts what it runs."""

    def __init__(self, simulator) -> None:
        self.simulator, self.runs = simulator, 0

    def run(self, deck, rundir, timeout):
        self.runs += 1
        return self.simulator.run(deck, rundir, timeout)


def characterised(folder: Path, monkeypatch, size: str = "1G"):
    """What the transistors of an example do, and how many decks were run to know it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("M3EDA_CACHE_SIZE", size)
    project = open_circuit("five_transistor_ota")
    counted = Counted(project.simulator())
    transistors = SimulatedTransistors(counted, "")
    found = Coarse(project.design, project.plugins.measures, transistors).kinds
    assert transistors.simulations == 3
    return found, counted.runs


def same(one: dict[str, Kind], other: dict[str, Kind]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(value, vars(other[name])[key])
        for name in one for key, value in vars(one[name]).items()
    )  # fmt: skip


@pytest.mark.simulator
def test_transistors_are_simulated_once(tmp_path, monkeypatch):
    first, runs = characterised(tmp_path, monkeypatch)
    assert runs == 3
    again, runs = characterised(tmp_path, monkeypatch)
    assert runs == 0
    assert same(first, again)


@pytest.mark.simulator
@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"nmos": {}}', '{"nmos": {"sign": "x"}}'])
def test_a_damaged_file_is_made_anew(tmp_path, monkeypatch, damage):
    first, _ = characterised(tmp_path, monkeypatch)
    [path] = tmp_path.rglob("*.json")
    whole = path.read_text()
    path.write_text(damage)
    again, runs = characterised(tmp_path, monkeypatch)
    assert runs == 3
    assert same(first, again)
    assert path.read_text() == whole


@pytest.mark.simulator
def test_nothing_is_kept_where_the_cache_is_off(tmp_path, monkeypatch):
    characterised(tmp_path, monkeypatch, "0")
    assert not list(tmp_path.rglob("*.json"))
    assert characterised(tmp_path, monkeypatch, "0")[1] == 3
