"""Amplifiers of the library beside the textbook's equations, on the real simulator."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from m3eda.circuits.catalogue import read_circuit
from m3eda.circuits.opening import catalogue, open_circuit
from m3eda.simulate.types import State

pytestmark = pytest.mark.simulator


def measured(
    name: str, folder: Path, testbench: str, probes: dict[str, str], **values: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Measures and sizing of a circuit at its default sizing but for `values`, with measures
    added: name -> expression over the waveforms of `testbench`."""
    copy = folder / name
    shutil.copytree(catalogue().paths[name].parent, copy, dirs_exist_ok=True)
    path = copy / "circuit.yaml"
    lines = "".join(
        f'  {probe}: {{testbench: {testbench}, expr: "{expression}"}}\n'
        for probe, expression in probes.items()
    )
    path.write_text(path.read_text().replace("\nmeasures:\n", f"\nmeasures:\n{lines}"))
    project = open_circuit(read_circuit(path))
    evaluator = project.evaluator()
    try:
        sizing = evaluator.complete({**project.nominal_sizing(), **values})
        [results] = evaluator.evaluate([sizing])
    finally:
        evaluator.close()
    assert results["nominal"].state is State.COMPLETE
    return dict(results["nominal"].measures), sizing


@pytest.mark.parametrize(
    ("name", "capacitor"), [("two_stage_miller", "cc"), ("nested_miller", "cm1")]
)
def test_the_unity_gain_frequency_is_that_of_the_pair_into_its_capacitor(name, capacitor, tmp_path):
    found, sizing = measured(name, tmp_path, "open_loop", {"gm": "@x1.mn1[gm]"})
    expected = found["gm"] / (2 * math.pi * sizing[capacitor])
    assert found["ugbw"] == pytest.approx(expected, rel=0.1)


def test_the_nulling_resistor_moves_the_zero_as_it_should(tmp_path):
    """The zero lies at 1 / (cc (1/gm6 - rz)): its phase at the crossing, for two resistors."""
    margins, phases = [], []
    for rz in (100.0, 1000.0):
        found, sizing = measured(
            "two_stage_miller_rz", tmp_path, "open_loop", {"gm": "@x1.mp3[gm]"}, rz=rz
        )
        delay = sizing["cc"] * (1 / found["gm"] - rz)
        phases.append(-math.degrees(math.atan(2 * math.pi * found["ugbw"] * delay)))
        margins.append(found["pm"])
    assert phases[1] - phases[0] > 5.0
    assert margins[1] - margins[0] == pytest.approx(phases[1] - phases[0], abs=1.5)


def test_the_transimpedance_is_that_of_its_stages(tmp_path):
    """Each inverter is gm and g of both devices: what three node equations give."""
    probes = {
        f"{word}{stage}": f"@x1.mn{stage}[{word}] + @x1.mp{stage}[{word}]"
        for stage in (1, 2, 3)
        for word in ("gm", "gds")
    }
    found, sizing = measured("transimpedance_amplifier", tmp_path, "response", probes)
    g1, g2, g3 = (found[f"gds{stage}"] for stage in (1, 2, 3))
    first = (1 - found["gm1"] * sizing["rf_1"]) / (found["gm1"] + g1)
    feedback = 1 / sizing["rf_2"]
    inverted = (feedback - found["gm3"]) / (g3 + feedback)
    last = -found["gm2"] / (g2 + feedback - feedback * inverted) * inverted
    assert found["gain"] == pytest.approx(abs(first * last), rel=1e-3)
