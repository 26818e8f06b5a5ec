"""Simulations of many circuits, technologies and corners at once, on the engine's workers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

from m3eda.design.types import Corner, Sizing
from m3eda.errors import SimulatorMissing
from m3eda.flow import Execution
from m3eda.learning.settings import Setting
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State

KEPT = 16
"""Circuits that stay loaded at most: each holds worker processes."""


@dataclass(frozen=True)
class Request:
    """One sizing of one circuit at one corner."""

    setting: Setting
    corner: Corner
    sizing: Sizing
    """The free parameters."""


class Simulations:
    """Simulates batches of requests, `execution.jobs` circuits side by side.

    Each circuit in each technology has workers of its own, which keep it loaded; of many, those
    used last. Nothing is stored: what is to be simulated is new. Close it after use. Used from one
    thread.
    """

    def __init__(self, jobs: int = 1, execution: Execution | None = None, kept: int = KEPT) -> None:
        self.execution = replace(execution or Execution(), jobs=jobs, cache=False)
        self.count = 0
        """Sizings simulated so far."""
        self._kept = kept
        self._open: OrderedDict[tuple[str, str, int], Evaluator] = OrderedDict()

    def run(self, requests: Sequence[Request]) -> list[CornerResult]:
        """The result of each request, in order. Raises SimulatorMissing, StorageError."""
        groups: dict[tuple[str, str, int], list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(_key(request.setting), []).append(number)
        found: dict[int, CornerResult] = {}
        batches = list(groups.items())
        # never more at once than are kept open
        width = max(self._kept, 1)
        for first in range(0, len(batches), width):
            some = batches[first : first + width]
            opened = [self._opened(requests[numbers[0]].setting) for _, numbers in some]
            work = [
                (evaluator, [(number, requests[number]) for number in numbers])
                for evaluator, (_, numbers) in zip(opened, some, strict=True)
            ]
            found.update(self._all(work))
        self.count += len(requests)
        return [found[number] for number in range(len(requests))]

    def close(self) -> None:
        """End every worker."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> Simulations:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(self, setting: Setting) -> Evaluator:
        key = _key(setting)
        if key not in self._open:
            while len(self._open) >= max(self._kept, 1):
                self._open.popitem(last=False)[1].close()
            self._open[key] = setting.project.evaluator(self.execution)
        self._open.move_to_end(key)
        return self._open[key]

    def _all(self, work: Sequence[_Work]) -> Iterable[tuple[int, CornerResult]]:
        threads = min(self.execution.jobs, len(work))
        if threads < 2:
            return [pair for each in work for pair in _simulated(each)]
        with ThreadPoolExecutor(threads) as pool:
            return [pair for pairs in pool.map(_simulated, work) for pair in pairs]


_Work = tuple[Evaluator, list[tuple[int, Request]]]


def _key(setting: Setting) -> tuple[str, str, int]:
    # two designs of one's own may have the same name; an open evaluator keeps its design alive
    return setting.circuit, setting.technology, id(setting.project.design)


def _simulated(work: _Work) -> list[tuple[int, CornerResult]]:
    evaluator, requests = work
    by_corner: dict[str, list[tuple[int, Request]]] = {}
    for number, request in requests:
        by_corner.setdefault(request.corner.name, []).append((number, request))
    found = []
    for name, some in by_corner.items():
        at = [some[0][1].corner]
        whole = [evaluator.complete(request.sizing) for _, request in some]
        for (number, _), results in zip(some, evaluator.evaluate(whole, at), strict=True):
            check_installed(results[name])
            found.append((number, results[name]))
    return found


def check_installed(result: CornerResult) -> None:
    """Raise SimulatorMissing where the program went away in mid-run."""
    if result.state is State.SIMULATOR_MISSING:
        raise SimulatorMissing(result.reason)
