"""Plugins as others install them, and a simulator among them that needs no program."""

from __future__ import annotations

from pathlib import Path

HOOK = "from m3eda.hookspecs import hookimpl\n@hookimpl\n"
AGENTS = HOOK + "def register_agents(register):\n    "
OBSERVER = HOOK + "def trial_finished(trial):\n    "

GOOD = """\
import numpy as np
from m3eda.hookspecs import hookimpl
from m3eda.simulate.types import Analysis, Waveforms
m3eda_api = 1
class Good:
    "The RC filter of these tests in closed form."
    name = "good"
    def __init__(self, options): pass
    def available(self): return "good-1"
    def run(self, deck, rundir, timeout):
        r, c = float(deck.values["r"]), float(deck.values["c"])
        f = np.geomspace(1.0, 1e7, 141)
        vectors = {"frequency": f + 0j, "v(out)": 1 / (1 + 2j * np.pi * f * r * c)}
        return Waveforms((Analysis("ac", vectors, "frequency"),), seconds=1e-6)
@hookimpl
def register_simulators(register):
    register("good", Good)
"""


class Site:
    """A folder of installed distributions, first on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.environment = {"PYTHONPATH": str(folder), "M3EDA_PLUGIN_TIMEOUT": "60"}
        """Of a process that has these plugins."""

    def install(self, name: str, text: str, version="1.0", entry="", module="", called="") -> None:
        """A distribution with one module of this text, and an entry point on it."""
        module = module or name.replace("-", "_")
        (self.folder / f"{module}.py").write_text(text)
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        points = f"[m3eda]\n{called or name} = {entry or module}\n"
        (info / "entry_points.txt").write_text(points)
