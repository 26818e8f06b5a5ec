"""The logarithm of the normal distribution."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import special

from m3eda.agents.normal import log_ndtr


def test_it_agrees_with_scipy_far_into_both_tails():
    z = np.concatenate([-np.logspace(1, 8, 500), np.linspace(-10, 10, 2001)])
    assert np.allclose(log_ndtr(z), special.log_ndtr(z), rtol=1e-12, atol=0.0)
    assert np.allclose(np.exp(log_ndtr(np.linspace(10, 40, 99))), 1.0, rtol=1e-15)
    ends = log_ndtr([-np.inf, np.inf, np.nan, 0.0])
    assert ends.tolist()[:2] == [-np.inf, 0.0]
    assert np.isnan(ends[2])
    assert np.isclose(ends[3], np.log(0.5), rtol=1e-14)


def test_networks_propose_without_scipy():
    """Else a sizing that takes one simulation would wait for SciPy."""
    code = """
import sys
from m3eda.circuits.opening import open_circuit
from m3eda.policy.agent import M3
agent = M3(open_circuit("m3_2soa").design, 1, {})
assert agent.ask(1) and agent.relying
print(sorted(name for name in sys.modules if name.partition(".")[0] == "scipy"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip
    assert done.stdout == "[]\n"
