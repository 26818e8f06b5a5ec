"""Distortion against closed forms and ngspice's own Fourier analysis."""

from __future__ import annotations

import math
import re
import subprocess

import numpy as np
import pytest

from m3eda.simulate import distortion
from m3eda.simulate.signals import MeasureUndefined, Trace
from tests.measuring import measured

thd = distortion.thd.function
sfdr = distortion.sfdr.function

NETLIST = """\
polynomial and limiter, driven by a sine
v1 in 0 sin(0 1 1k)
b1 out 0 v=v(in)+0.1*v(in)*v(in)+0.05*v(in)*v(in)*v(in)
r1 out 0 1k
b2 clipped 0 v=max(min(v(in),0.5),-0.5)
r2 clipped 0 1k
.options reltol=1e-5
.tran 1u 4m 0 1u
"""
POLYNOMIAL = math.hypot(0.1 / 2, 0.05 / 4) / (1 + 0.05 * 3 / 4)
"""Of s + 0.1 s^2 + 0.05 s^3: the second harmonic is 0.1/2, the third 0.05/4."""


def clipped_harmonic(n: int) -> float:
    """Amplitude of the odd harmonic n of a sine of amplitude 1 clipped at 0.5."""
    a = math.asin(0.5)
    if n == 1:
        return 2 / math.pi * (a + 0.5 * math.cos(a))
    below = math.sin((n - 1) * a) / (n - 1) - math.sin((n + 1) * a) / (n + 1)
    return 2 / math.pi * (below + math.cos(n * a) / n)


CLIPPED = math.sqrt(sum(clipped_harmonic(n) ** 2 for n in (3, 5, 7, 9))) / clipped_harmonic(1)


def sine(points: int, periods: int, *harmonics: float, uneven: float = 0.0, phase: float = 0.3):
    """Amplitudes of the harmonics from the first, at 1 kHz."""
    t = np.linspace(0.0, periods, points * periods + 1)
    t[1:-1] += uneven / points * np.sin(7.7 * np.arange(t.size - 2))
    y = sum(a * np.sin(2 * np.pi * n * t + n * phase) for n, a in enumerate(harmonics, 1))
    return Trace(t * 1e-3, 0.4 + y, "tran", "v(out)")


@pytest.mark.simulator
def test_closed_forms_on_ngspice(tmp_path):
    values, reasons = measured(
        NETLIST,
        tmp_path,
        {
            "polynomial": "thd(v(out), fundamental=1k)",
            "found": "thd(v(out))",
            "clipped": "thd(v(clipped), 1k)",
            "spur": "sfdr(v(out), 1k)",
            "pure": "thd(v(in), 1k)",
            "decibels": "db(thd(v(out)))",
        },
    )
    assert reasons == {}
    assert values["polynomial"] == pytest.approx(POLYNOMIAL, rel=1e-4)
    assert values["found"] == pytest.approx(POLYNOMIAL, rel=1e-4)
    assert values["clipped"] == pytest.approx(CLIPPED, rel=1e-3)
    assert values["spur"] == pytest.approx((1 + 0.05 * 3 / 4) / (0.1 / 2), rel=1e-3)
    assert values["pure"] < 1e-7
    assert values["decibels"] == pytest.approx(20 * math.log10(POLYNOMIAL), abs=1e-3)


@pytest.mark.simulator
def test_agrees_with_ngspices_fourier_analysis(tmp_path):
    # .four reads straight lines at 200 points a period unless it is told otherwise
    control = (
        ".control\nset fourgridsize=1000\nset polydegree=3\nrun\n"
        "fourier 1k v(out) v(clipped)\nquit 0\n.endc\n.end\n"
    )
    (tmp_path / "four.cir").write_text(NETLIST + control)
    done = subprocess.run(
        ["ngspice", "-b", "four.cir"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    theirs = [float(each) / 100 for each in re.findall(r"THD: (\S+) %", done.stdout)]
    ours, _ = measured(NETLIST, tmp_path, {"a": "thd(v(out), 1k)", "b": "thd(v(clipped), 1k)"})
    assert list(ours.values()) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(("points", "floor"), [(50, 1e-5), (100, 1e-6), (400, 1e-8)])
def test_the_floor_of_a_pure_sine_on_uneven_steps(points, floor):
    assert thd(sine(points, 5, 1.0, uneven=0.3)) < floor


def test_harmonics_count_up_to_the_last_one_asked_for():
    wave = sine(400, 3, 1.0, 0.01, 0.02, 0.0, 0.05)
    assert thd(wave, harmonics=2) == pytest.approx(0.01, rel=1e-5)
    assert thd(wave, harmonics=3) == pytest.approx(math.hypot(0.01, 0.02), rel=1e-5)
    assert thd(wave) == pytest.approx(math.sqrt(0.01**2 + 0.02**2 + 0.05**2), rel=1e-5)
    assert sfdr(wave) == pytest.approx(20.0, rel=1e-5)


def test_a_start_up_before_the_last_period_does_not_count():
    wave = sine(200, 4, 1.0, 0.01)
    started = Trace(wave.x, np.where(wave.x < 2.9e-3, 0.4, wave.y), "tran", "v(out)")
    assert thd(started, fundamental=1e3) == pytest.approx(0.01, rel=1e-4)


def test_lines_between_the_harmonics_count_in_the_dynamic_range_only():
    t = np.linspace(0.0, 4e-3, 4001)
    wave = Trace(t, np.sin(2e3 * np.pi * t) + 0.1 * np.sin(2 * np.pi * 250 * t), "tran", "v(out)")
    assert sfdr(wave, fundamental=1e3) == pytest.approx(10.0, rel=1e-6)
    assert thd(wave, fundamental=1e3, periods=4) < 1e-9


def test_fast_edges_are_not_overshot():
    edges = np.sort(np.concatenate([np.linspace(0.0, 5.0, 101), *np.add.outer(
        np.arange(0.25, 5.0, 0.5), [-1e-6, 1e-6])]))  # fmt: skip
    square = Trace(edges, np.where((edges + 0.25) % 1.0 < 0.5, 1.0, -1.0), "tran", "v(out)")
    odd = math.sqrt(sum(1 / n**2 for n in (3, 5, 7, 9)))
    assert thd(square, fundamental=1.0) == pytest.approx(odd, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"fundamental": 100.0}, "0 whole periods of 0.01 s, not 1"),
        ({"fundamental": -1.0}, "no sine has the frequency -1 Hz"),
        ({"fundamental": 1e3, "periods": 7}, "5 whole periods of 0.001 s, not 7"),
        ({"harmonics": 1}, "leaves out the second"),
        ({"harmonics": 99}, "100 points a period, too few for 99 harmonics"),
    ],
)
def test_what_has_no_distortion(arguments, reason):
    with pytest.raises(MeasureUndefined, match=reason):
        thd(sine(100, 5, 1.0), **arguments)


def test_a_constant_has_no_fundamental():
    flat = Trace(np.linspace(0, 5e-3, 501), np.full(501, 0.6), "tran", "v(out)")
    with pytest.raises(MeasureUndefined, match="does not oscillate"):
        thd(flat)
    with pytest.raises(MeasureUndefined, match="nothing at 1000 Hz"):
        thd(flat, fundamental=1e3)
