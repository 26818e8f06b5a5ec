"""One deck through PySpice: the `main` of a process of its own.

Reads the pickled `Task` of the working directory, and leaves a pickled `Answer` there. With the
argument `version` it prints the versions of PySpice and ngspice instead.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from m3eda.design.types import Value
from m3eda.simulate.types import Deck, OnlyCold, SimulationFailed, State, Waveforms

TASK = "task.pickle"
ANSWER = "answer.pickle"


@dataclass(frozen=True)
class Task:
    """What the process is to run."""

    deck: Deck
    options: Mapping[str, Value]
    """Written as `.option` cards."""
    spiceinit: str
    """The text of its start file."""


@dataclass(frozen=True)
class Answer:
    """What the deck gave, or why it gave nothing."""

    waveforms: Waveforms | None
    state: State = State.COMPLETE
    reason: str = ""
    log: str = ""


def main() -> None:
    here = Path.cwd()
    if sys.argv[1:] == ["version"]:
        sys.stdout.write(f"{_version(here)}\n")
        return
    task: Task = pickle.loads((here / TASK).read_bytes())
    (here / ANSWER).write_bytes(pickle.dumps(_answer(task, here)))


def _version(rundir: Path) -> str:
    from m3eda_plugins.pyspice.library import PySpiceLibrary

    return f"pyspice-{version('PySpice')}/{PySpiceLibrary(rundir, '').version}"


def _answer(task: Task, rundir: Path) -> Answer:
    from m3eda_plugins.ngspice.session import NgspiceSession
    from m3eda_plugins.pyspice.library import PySpiceLibrary

    session = NgspiceSession(PySpiceLibrary(rundir, task.spiceinit), task.options, strict=True)
    try:
        return Answer(session.run(task.deck))
    except SimulationFailed as failure:
        return Answer(None, failure.state, failure.reason, failure.log)
    except OnlyCold as refusal:
        return Answer(None, State.PARSE_ERROR, f"PySpice does not run this deck: {refusal}")
