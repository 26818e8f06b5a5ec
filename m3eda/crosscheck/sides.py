"""One design on two simulators: which they are, and what each gives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from m3eda.crosscheck.comparison import Results
from m3eda.crosscheck.tables import Side
from m3eda.design.types import Sizing, Value
from m3eda.errors import DesignError, Mistake, SimulatorMissing
from m3eda.flow import Project
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.types import State

_PROGRESS = 30.0
"""Seconds between two lines of progress."""


def chosen_simulators(own: str, simulator: str | None, against: str | None) -> tuple[str, str]:
    """The two names: by default the design's `own`, and xyce beside ngspice, else ngspice.

    Raises DesignError where both are the same.
    """
    one = simulator or own
    other = against or ("xyce" if one == "ngspice" else "ngspice")
    if one == other:
        text = f"{one} would be compared with itself"
        hint = "name another one, or compare its own ways by m3eda check --strict"
        raise DesignError([Mistake(f"--against {other}: {text}", hint=hint)])
    return one, other


def given_options(names: Sequence[str], assignments: Iterable[str]) -> dict[str, dict[str, Value]]:
    """`--option SIMULATOR.KEY=VALUE` by simulator. Raises DesignError."""
    found: dict[str, dict[str, Value]] = {name: {} for name in names}
    for text in assignments:
        where, equals, written = text.partition("=")
        name, dot, key = where.partition(".")
        if not equals or not dot or not key:
            raise _mistake(text, "expected SIMULATOR.KEY=VALUE")
        if name not in found:
            raise _mistake(text, f"'{name}' is not compared", f"one of {' and '.join(names)}")
        found[name][key] = _option(written)
    return found


def _option(written: str) -> Value:
    """As a design file has it: a number where it is one."""
    try:
        return float(written)
    except ValueError:
        return written


def on(project: Project, name: str, options: Mapping[str, Value]) -> Project:
    """`project` on the simulator `name`; the design's own options are for the design's simulator.

    Raises PluginError where nobody knows `name`.
    """
    project.plugins.look_up("simulators", name)
    design = project.design
    own = design.simulator.options if name == design.simulator.name else {}
    choice = replace(design.simulator, name=name, options={**own, **options})
    return replace(project, design=replace(design, simulator=choice))


def simulated(
    evaluator: Evaluator, sizings: Sequence[Sizing], say: Callable[[str], None] = lambda _: None
) -> Side:
    """What the simulator of `evaluator`, which is closed, gives at `sizings`.

    `say` hears how far it is, now and then, and what the user should know. Raises
    SimulatorMissing where the program is gone.
    """
    found: list[Results] = []
    choice = evaluator.design.simulator
    told = time.monotonic()
    with contextlib.closing(evaluator):
        whole = [evaluator.complete(sizing) for sizing in sizings]
        with contextlib.closing(evaluator.evaluate(whole)) as results:
            for each in results:
                found.append(each)
                gone = [r for r in each.values() if r.state is State.SIMULATOR_MISSING]
                if gone:
                    raise SimulatorMissing(gone[0].reason)
                if time.monotonic() - told > _PROGRESS:
                    told = time.monotonic()
                    say(f"{choice.name}: {len(found)} of {len(sizings)} sizings")
        if evaluator.note:
            say(evaluator.note)
    return Side(choice.name, evaluator.version, tuple(found), choice.options)


def _mistake(text: str, what: str, hint: str = "such as ngspice.reltol=1e-4") -> DesignError:
    return DesignError([Mistake(f"--option {text}: {what}", hint=hint)])
