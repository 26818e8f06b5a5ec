"""The kernel of the coarse model against NumPy: circuits of the library, plain transistors."""

from __future__ import annotations

import numpy as np
import pytest

from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.coarse import kernel, solve
from m3eda.coarse.frequencies import noise, response
from m3eda.coarse.model import Coarse
from m3eda.coarse.netlist import Branch, Netlist, Quantity
from m3eda.coarse.solve import Batch
from m3eda.coarse.transistor import Kind, Point
from m3eda.coarse.waves import simulated
from m3eda.design.ties import complete
from m3eda.structure.elements import PMOS

pytestmark = pytest.mark.usefixtures("quiet", "compiler")
CIRCUITS = ("folded_cascode_ota", "hysteresis_comparator", "lc_oscillator", "nested_miller")
CLOSE = {"op": 1e-8, "dc": 1e-8, "ac": 1e-5, "noise": 1e-8, "tran": 1e-7}
"""Largest differences, in units of a vector's largest number."""


@pytest.fixture
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(scope="module")
def compiler():
    if kernel._library() is None:
        pytest.skip("no C compiler is here")


def transistors(wanted, circuit, supply, celsius):
    """Of about 180 nm."""
    numbers = np.array([[0.4, 1.3, 0.4, -10.4, 0.0, -1.2, 1.6, 0.5, -3.9, 1.4, -4.6, -1.0],
                        [0.42, 1.3, 0.4, -12.0, 1.4, -1.2, 3.0, 0.5, -4.6, 1.2, -4.2, -0.5],
                        ])  # fmt: skip
    lengths = np.log([0.18e-6, 0.9e-6])
    return {each.model: Kind(-1.0 if each.kind == PMOS else 1.0, lengths, numbers, 10e-6, 8e-3,
                             3e-10, 1e-9, 1e-24, 2.0, celsius + 273.15)
            for each in wanted}  # fmt: skip


@pytest.fixture(scope="module")
def benches():
    made = {}

    def of(name, count):
        """Testbenches of a circuit: netlist, fills, transistors, vectors, device values."""
        if name not in made:
            project = open_circuit(catalogue().circuit(name))
            with np.errstate(all="ignore"):
                made[name] = Coarse(project.design, project.plugins.measures, transistors)
        coarse = made[name]
        rng = np.random.default_rng(3)
        points = coarse.space.snap(rng.random((count, coarse.space.dimension)))
        sizings = [complete(coarse.design, coarse.space.sizing(each)) for each in points]
        for bench in coarse.benches:
            decks = [coarse._deck(bench.testbench, each) for each in sizings]
            yield bench.netlist, bench.holes.fills(decks)[1], coarse.kinds, decks[0]

    return of


def numpy_only(monkeypatch):
    monkeypatch.setattr(solve, "compiled", lambda batch: None)


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_analysis_is_as_numpy_has_it(name, benches, monkeypatch):
    # a transient keeps derivatives of earlier steps, with NumPy those of all sizings or none
    for netlist, fills, kinds, deck in benches(name, 1 if name == "hysteresis_comparator" else 2):
        waves, x = [], []
        for count in (None, 1):
            if count:
                numpy_only(monkeypatch)
            each = [simulated(netlist, row[None], kinds, deck.vectors, deck.device_values)
                    for row in fills]  # fmt: skip
            waves.append([own for given, _ in each for own in given])
            x.append(np.vstack([own for _, own in each]))
        monkeypatch.undo()
        assert np.isfinite(x[1]).all(axis=1).any()
        np.testing.assert_allclose(*x, rtol=1e-8, atol=1e-12)
        for own, other in zip(*waves, strict=True):
            assert (own is None) == (other is None)
            for one, two in zip(own.analyses, other.analyses, strict=True) if own else ():
                for key, wanted in two.vectors.items():
                    large = np.abs(wanted).max() if np.isfinite(wanted).all() else 1.0
                    np.testing.assert_allclose(
                        one.vectors[key], wanted, rtol=0.0, atol=CLOSE[two.kind] * large + 1e-15,
                        err_msg=f"{two.kind} {key}",
                    )  # fmt: skip


@pytest.mark.parametrize("name", CIRCUITS)
def test_many_sizings_have_the_same_operating_points(name, benches):
    for netlist, fills, kinds, _ in benches(name, 24):
        fast, slow = Batch(netlist, fills, kinds), Batch(netlist, fills, kinds, numpy=True)
        assert fast.compiled
        assert not slow.compiled
        (x, done), (wanted, good) = fast.operating_point(), slow.operating_point()
        # of one that goes round in circles the last bits decide whether it ends
        assert (done != good).sum() <= 1
        assert good.sum() > 12
        both = done & good
        np.testing.assert_allclose(x[both], wanted[both], rtol=1e-7, atol=1e-9)
        here, there = fast.small_signal(wanted), slow.small_signal(wanted)
        for own, other in zip((*here[:2], *here[2]), (*there[:2], *there[2]), strict=True):
            large = np.abs(other[good]).max(initial=0.0)
            np.testing.assert_allclose(own[good], other[good], rtol=1e-7, atol=1e-12 * large)
        again, still = fast.next_point(wanted, good)
        assert (still == good).all()
        np.testing.assert_allclose(again[good], wanted[good], rtol=1e-6, atol=1e-7)


def test_a_sweep_does_not_need_a_new_batch(benches):
    netlist, fills, kinds, _ = next(benches("hysteresis_comparator", 3))
    source = next(each.source for each in netlist.analyses if each.kind == "dc")
    for level in (np.array([0.3, 0.5, 0.7]), np.array([0.8, 0.1, 0.2])):
        made = Batch(netlist, fills, kinds, {source: level})
        swept = Batch(netlist, fills, kinds, {source: np.zeros(3)})
        assert swept.operating_point()[1].all()
        swept.sweep(source, level)
        np.testing.assert_array_equal(swept.forced, made.forced)
        np.testing.assert_array_equal(swept.operating_point()[0], made.operating_point()[0])


def bare(size, count):
    """A batch of no devices, whose matrices tests make."""
    nets = {f"n{k}": k for k in range(size)}
    return Batch(Netlist(nets=nets, size=size), np.zeros((count, 0)), {})


@pytest.mark.parametrize("seed", range(8))
def test_pivots_are_found_where_diagonals_are_empty_and_numbers_far_apart(seed):
    rng = np.random.default_rng(seed)
    size, count = int(rng.integers(2, 30)), 5
    batch = bare(size, count)
    shape = (count, size, size)
    there = rng.random((size, size)) < 3.0 / size
    there[np.arange(size), rng.permutation(size)] = True
    conductance = there * rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 1, shape)
    storage = (rng.random((size, size)) < 0.5) * there * rng.normal(size=shape) * 1e-9
    batch.small[:, :size] = rng.normal(size=(count, size))
    frequencies = np.geomspace(1.0, 1e10, 12)
    found = response(batch, conductance, storage, frequencies)
    omega = 2.0 * np.pi * frequencies[None, :, None, None]
    matrix = conductance[:, None] + 1j * omega * storage[:, None]
    given = np.repeat(batch.small[:, None, :size, None], len(frequencies), axis=1).astype(complex)
    wanted = np.linalg.solve(matrix, given)[..., 0]
    away = np.abs(found[..., :size] - wanted).max(axis=2) / np.abs(wanted).max(axis=2)
    assert (away < 1e-14 * np.linalg.cond(matrix)).all()


def test_one_singular_sizing_leaves_others_alone():
    batch = bare(3, 3)
    conductance = np.repeat(np.eye(3)[None], 3, axis=0)
    conductance[1, 2, 2] = 0.0
    batch.small[:, :3] = [1.0, 2.0, 3.0]
    found = response(batch, conductance, np.zeros((3, 3, 3)), np.array([1.0, 10.0]))
    assert np.isnan(found[1, :, :3]).all()
    np.testing.assert_allclose(found[[0, 2], :, :3], np.broadcast_to([1.0, 2.0, 3.0], (2, 2, 3)))
    none = np.zeros((3, 0))
    at = Point(*[none] * len(Point._fields))
    batch.resistors = [(0, -1, np.ones(3))]
    out, _ = noise(batch, conductance, np.zeros((3, 3, 3)), at, np.array([1.0]), [0], 0)
    assert np.isnan(out[1]).all()
    np.testing.assert_allclose(out[[0, 2], 0] ** 2, 4.0 * 1.380649e-23 * 300.15, rtol=1e-12)


@pytest.mark.parametrize("numpy", [False, True])
def test_sources_that_contradict_each_other_have_no_operating_point(numpy):
    branches = [Branch("v", f"v{k}", (0, -1), Quantity(1.0, k), k + 1) for k in (0, 1)]
    netlist = Netlist(nets={"a": 0}, branches=branches, size=3)
    x, done = Batch(netlist, np.array([[1.0, 2.0]]), {}, numpy=numpy).operating_point()
    assert not done.any()
    assert np.isnan(x).all()


def test_without_a_compiler_numpy_does_the_work(benches, monkeypatch, tmp_path):
    netlist, fills, kinds, _ = next(benches("folded_cascode_ota", 3))
    wanted, _ = Batch(netlist, fills, kinds).operating_point()
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    monkeypatch.setattr(kernel, "_library", kernel._library.__wrapped__)
    batch = Batch(netlist, fills, kinds)
    assert batch.compiled is None
    np.testing.assert_allclose(batch.operating_point()[0], wanted, rtol=1e-7, atol=1e-9)
