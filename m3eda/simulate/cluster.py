"""The executor of a cluster: Dask carries tasks to its workers, where circuits stay loaded.

Small simulations travel in groups, so that one message costs little beside what it asks for. Only
numbers come back. Whatever a lost worker had is run by another.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pickle
import queue
import uuid
from collections import Counter, deque
from dataclasses import dataclass

from distributed import Future, KilledWorker

from m3eda import errors
from m3eda.errors import ClusterError, M3edaError, PluginError, cause
from m3eda.simulate.cluster_link import Found, Link
from m3eda.simulate.cluster_worker import Circuits, Group, Report, packed
from m3eda.simulate.executor import Outcome, Task
from m3eda.simulate.runner import Recipe

_GROUP = 0.05
"""Seconds that a group is to take: ten times what Dask needs for a task."""
_MOST = 100
"""Tasks in a group."""
_LOOK = 0.5
_LOSSES = 3
"""Times that Dask may give up a task whose workers die, by its own count of deaths each."""
_CUT_OFF = (asyncio.CancelledError, concurrent.futures.CancelledError, OSError)
"""How Dask says that the scheduler has lost what was sent."""


@dataclass
class _Sent:
    """A group on its way."""

    tasks: list[Task]
    future: Future


class DaskExecutor:
    """Runs tasks on the workers of a Dask cluster. An `Executor`.

    `scheduler` is the address of a running scheduler or its scheduler file (`*.json`), and all of
    its workers are used; where it is empty, `jobs` workers are started on this machine, and ended
    by `close`. `licences` limits the simulations at once of all runs on the cluster that use the
    same simulator, 0 does not. The scheduler must answer within `timeout` seconds, 0 for what
    Dask's configuration says (`distributed.comm.timeouts.connect`), and a worker be there within
    `patience`.

    Raises ClusterError where the cluster cannot be joined or used.
    """

    def __init__(
        self,
        recipe: Recipe,
        jobs: int = 1,
        *,
        scheduler: str = "",
        licences: int = 0,
        timeout: float = 0.0,
        patience: float = 300.0,
    ) -> None:
        self.note = ""
        """Why simulations do not run in a session; empty where they do."""
        self._licences = licences
        self._user = uuid.uuid4().hex
        self._round = self._count = 0
        self._waiting: dict[str, deque[Task]] = {}
        self._sent: dict[int, _Sent] = {}
        self._done: list[tuple[int, Outcome]] = []
        self._inbox: queue.SimpleQueue[tuple[int, Found]] = queue.SimpleQueue()
        self._seconds: dict[str, float] = {}
        self._losses: Counter[int] = Counter()
        workers = max(1, min(jobs, licences) if licences else jobs)
        counted = licences if scheduler else 0  # workers of our own are no more than licences
        name = recipe.design.simulator.name
        self._link = Link(
            Circuits(pickle.dumps(recipe, -1), name, counted, local=not scheduler),
            self._user,
            scheduler=scheduler,
            workers=workers,
            timeout=timeout,
            patience=patience,
        )

    @property
    def width(self) -> int:
        """Threads of the cluster, as far as licences allow; they may come and go."""
        threads = max(1, self._link.threads)
        return min(threads, self._licences) if self._licences else threads

    @property
    def depth(self) -> int:
        """Tasks for each of `width` that keep it busy: a group that runs, and one that waits."""
        if not self._seconds:
            return 1
        mean = sum(self._seconds.values()) / len(self._seconds)
        return max(1, min(2 * _MOST, int(2 * _GROUP / max(mean, 1e-6))))

    def submit(self, task: Task) -> None:
        waiting = self._waiting.setdefault(task.circuit, deque())
        waiting.append(task)
        if len(waiting) >= self._target(task.circuit):
            self._send()

    def completed(self) -> list[tuple[int, Outcome]]:
        self._send()
        while not self._done and (self._sent or self._waiting):
            self._link.check()
            with contextlib.suppress(queue.Empty):
                self._take(*self._inbox.get(timeout=_LOOK))
                while True:
                    self._take(*self._inbox.get_nowait())
            self._send()
        done, self._done = self._done, []
        return done

    def cancel(self) -> None:
        futures = [sent.future for sent in self._sent.values()]
        for forgotten in (self._waiting, self._sent, self._done, self._losses):
            forgotten.clear()
        self._round += 1
        if futures:
            self._link.cancel(futures, self._round)

    def close(self) -> None:
        self.cancel()
        self._link.close()

    def _target(self, circuit: str) -> int:
        """Tasks that make a group of the right length; one until a circuit has been measured."""
        seconds = self._seconds.get(circuit)
        return 1 if seconds is None else max(1, min(_MOST, int(_GROUP / max(seconds, 1e-6))))

    def _send(self) -> None:
        """Send waiting tasks, the oldest first, one group more for each thread than it can run.

        With licences there are no groups beyond those that can run: they would only hold threads.
        """
        ahead = 1 if self._licences else 2
        while self._waiting and self._link.registered and len(self._sent) < ahead * self.width:
            circuit = min(self._waiting, key=lambda name: self._waiting[name][0].number)
            waiting = self._waiting[circuit]
            free = self.width - len(self._sent)
            total = sum(map(len, self._waiting.values()))
            share = -(-total // (free if free > 0 else self.width))
            size = min(self._target(circuit), share, len(waiting))
            if waiting[0].number in self._losses:
                size = 1  # to be lost alone, if it is this one
            self._send_group([waiting.popleft() for _ in range(size)])
            if not waiting:
                del self._waiting[circuit]

    def _send_group(self, tasks: list[Task]) -> None:
        self._count += 1
        number, inbox = self._count, self._inbox
        group = Group(self._link.name, self._user, self._round, packed(tasks))
        key = f"m3eda-{self._user}-{number}"
        future = self._link.send(group, key, lambda found: inbox.put((number, found)))
        self._sent[number] = _Sent(tasks, future)

    def _take(self, number: int, found: Found) -> None:
        """Keep the outcomes of a group; what is lost of it waits again."""
        sent = self._sent.pop(number, None)
        if sent is None:  # cancelled
            return
        if isinstance(found, Report) and found.kind:
            raise _told(found)
        if isinstance(found, Report) and not found.missing:
            self._keep(sent.tasks, found)
        elif isinstance(found, KilledWorker):
            self._again(sent.tasks, lost=True)
        elif isinstance(found, (Report, *_CUT_OFF)):
            # the scheduler knows nothing of this run: it was started anew, or was cut off
            self._link.registered = False
            self._again(sent.tasks)
        else:
            text = f"{self._link.where}: a worker cannot run m3eda: {cause(found)}"
            raise ClusterError(f"{text}; install the same m3eda on every node")

    def _keep(self, tasks: list[Task], report: Report) -> None:
        self._done += report.outcomes
        self.note = report.note or self.note
        for task in tasks:
            self._losses.pop(task.number, None)
        if report.outcomes:
            circuit, new = tasks[0].circuit, report.seconds / len(report.outcomes)
            old = self._seconds.get(circuit, new)
            # the first has its circuit to load, so the least counts more than the last
            self._seconds[circuit] = min(new, (old + new) / 2)
        arrived = {number for number, _ in report.outcomes}
        self._again([task for task in tasks if task.number not in arrived])

    def _again(self, tasks: list[Task], lost: bool = False) -> None:
        for task in reversed(tasks):
            if lost:
                self._losses[task.number] += 1
            if self._losses[task.number] > _LOSSES:
                raise ClusterError(
                    f"{self._link.where}: worker after worker dies while it simulates "
                    f"{task.circuit}; see the log of the Dask workers"
                )
            self._waiting.setdefault(task.circuit, deque()).appendleft(task)


def _told(report: Report) -> M3edaError:
    """The error that a worker met."""
    kind = getattr(errors, report.kind, PluginError)
    if kind is errors.DesignError:
        return errors.DesignError([errors.Mistake(report.error)])
    told: M3edaError = kind(report.error)
    return told
