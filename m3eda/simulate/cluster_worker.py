"""What runs inside a Dask worker: it hands groups of tasks to processes that simulate.

A worker of Dask never simulates by itself. It keeps a `Pool` a thread, whose processes hold the
circuits and may be killed; they end with the Dask worker, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from distributed import Semaphore, WorkerPlugin, get_worker

from m3eda import __version__
from m3eda.errors import ClusterError, M3edaError
from m3eda.simulate.executor import Outcome, Task
from m3eda.simulate.pool import Pool
from m3eda.simulate.runner import Recipe

LOOK = 0.2
"""Seconds between two looks at whether what runs is still wanted."""

Ask = Callable[[], bool]

_SWEEP, _IDLE = 60.0, 600.0
_REGISTERING = 3
"""Times that a licence is asked for while another run gives it a new number."""


@dataclass(frozen=True)
class Group:
    """Tasks of one circuit, to be run one after the other by one thread."""

    plugin: str
    user: str
    """The executor that wants them."""
    round: int
    """Counts the cancellations of that executor."""
    tasks: bytes


@dataclass(frozen=True)
class Report:
    """What became of a group."""

    outcomes: tuple[tuple[int, Outcome], ...] = ()
    seconds: float = 0.0
    """From the first task to the last outcome, without the time a licence was waited for."""
    kind: str = ""
    """Name of the error that ends the run, and its text."""
    error: str = ""
    note: str = ""
    missing: bool = False
    """True where this worker knows nothing of the circuits: the scheduler was started anew."""


class Circuits(WorkerPlugin):  # type: ignore[misc, unused-ignore]
    """The pools of one recipe in one worker, made when they are first asked for."""

    idempotent = True

    def __init__(self, recipe: bytes, simulator: str, licences: int, *, local: bool) -> None:
        self.recipe = recipe
        self.local = local
        self.simulator = simulator
        self.licences = licences
        self.version = __version__

    def setup(self, worker: Any) -> None:
        self._lock = threading.Lock()
        self._idle: list[Pool] = []
        self._running: dict[threading.Event, Group] = {}
        self._users: dict[str, int] = {}
        self._seen: set[object] = set()
        self._used = time.monotonic()
        self._where = worker.address
        self._semaphore = None
        if self.licences:
            self._semaphore = Semaphore(
                self.licences, licence_name(self.simulator), worker.scheduler, worker.loop
            )
        if self.local:
            # Ctrl-C reaches every process of the terminal; the one that is asked ends the others
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._sweeper = asyncio.ensure_future(self._sweep())

    async def teardown(self, worker: Any) -> None:
        self._sweeper.cancel()
        with self._lock:
            users = list(self._users)
        for user in users:
            await asyncio.to_thread(self.release, user)

    def run(self, group: Group, wanted: Ask) -> Report:
        """Run `group`; gives an empty report where nobody wants it any more."""
        with self._entered(group) as stopped:

            def stop() -> bool:
                return stopped.is_set() or not wanted()

            try:
                tasks = _whole(pickle.loads(group.tasks))
                self._check(tasks)
                with self._licensed(stop) as granted:
                    return self._simulated(tasks, stop) if granted else Report()
            except M3edaError as error:
                return Report(kind=type(error).__name__, error=f"worker {self._where}: {error}")

    def stop(self, user: str, round: int) -> None:
        """Kill what runs for `user` and was asked for before `round`."""
        with self._lock:
            self._users[user] = max(round, self._users.get(user, 0))
            for stop, group in self._running.items():
                if group.user == user and group.round < round:
                    stop.set()

    def release(self, user: str) -> int:
        """End all that runs for `user`, and every process that nobody else needs.

        Gives the number of users left.
        """
        self.stop(user, 1 << 62)
        ends = time.monotonic() + 5.0
        while time.monotonic() < ends:
            with self._lock:
                if all(group.user != user for group in self._running.values()):
                    break
            time.sleep(0.01)
        with self._lock:
            self._users.pop(user, None)
            idle = [] if self._users else self._emptied()
            left = len(self._users)
        for pool in idle:
            pool.close()
        return left

    @contextlib.contextmanager
    def _entered(self, group: Group) -> Iterator[threading.Event]:
        """The event that tells when `group` is no longer wanted."""
        stop = threading.Event()
        with self._lock:
            if group.round < self._users.setdefault(group.user, 0):
                stop.set()
            self._running[stop] = group
        try:
            yield stop
        finally:
            with self._lock:
                self._running.pop(stop)
                self._used = time.monotonic()

    def _check(self, tasks: list[Task]) -> None:
        """Raises ClusterError where this worker cannot give what the run's own machine would."""
        if self.version != __version__:
            text = f"has m3eda {__version__}, and the run m3eda {self.version}"
            raise ClusterError(f"{text}; install the same version on every node")
        for task in tasks:
            key = (task.circuit, task.deck.files)
            if key in self._seen:
                continue
            for path in task.deck.files:
                if str(path) in task.deck.text and not path.exists():
                    raise ClusterError(
                        f"{path} is not there; the files a netlist includes must be on a file "
                        "system that every node has at the same place"
                    )
            self._seen.add(key)

    @contextlib.contextmanager
    def _licensed(self, stop: Ask) -> Iterator[bool]:
        """Holds a licence, where they are counted; False where `stop` came first."""
        if self._semaphore is None:
            yield not stop()
            return
        while not stop():
            if self._acquired(self._semaphore):
                try:
                    yield True
                finally:
                    self._semaphore.release()
                return
        yield False

    def _acquired(self, semaphore: Semaphore) -> bool:
        for _ in range(_REGISTERING):
            try:
                return bool(semaphore.acquire(timeout=5 * LOOK))
            except ValueError as error:
                raise ClusterError(unlike(self.simulator, self.licences)) from error
            except RuntimeError:  # another run is about to give it a new number
                time.sleep(LOOK)
        raise ClusterError(f"the licences of {self.simulator} are not known to the scheduler")

    def _simulated(self, tasks: list[Task], stop: Ask) -> Report:
        start = time.perf_counter()
        with self._lock:
            pool = self._idle.pop() if self._idle else None
        if pool is None:
            pool = Pool(self._recipe(), 1, share=os.cpu_count() or 1)
        try:
            outcomes = _drained(pool, tasks, stop)
        except BaseException:
            pool.close()
            raise
        with self._lock:
            wanted = any(rounds < 1 << 62 for rounds in self._users.values())
            if wanted:
                self._idle.append(pool)
        if not wanted:
            pool.close()
        return Report(tuple(outcomes), time.perf_counter() - start, note=pool.note)

    def _recipe(self) -> Recipe:
        recipe: Recipe = pickle.loads(self.recipe)
        folder = recipe.keep_failed
        if folder is not None and not folder.parent.is_dir():  # not a file system of all
            recipe = replace(recipe, keep_failed=None)
        return recipe

    def _emptied(self) -> list[Pool]:
        idle, self._idle = self._idle, []
        return idle

    async def _sweep(self) -> None:
        """End processes of runs that ended without a word."""
        while True:
            await asyncio.sleep(_SWEEP)
            with self._lock:
                old = not self._running and time.monotonic() - self._used > _IDLE
                idle = self._emptied() if old else []
                if old:
                    self._users.clear()
            for pool in idle:
                await asyncio.to_thread(pool.close)


def run_group(group: Group) -> Report:
    """The task that Dask sees."""
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        """False where the scheduler has told this worker to forget the task: its client is gone."""
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    circuits = worker.plugins.get(group.plugin)
    return circuits.run(group, wanted) if circuits is not None else Report(missing=True)


async def stop_groups(plugin: str, user: str, round: int, dask_worker: Any) -> None:
    """Kill what `user` asked this worker for before `round`."""
    circuits = dask_worker.plugins.get(plugin)
    if circuits is not None:
        circuits.stop(user, round)


async def release_circuits(plugin: str, user: str, dask_worker: Any) -> int:
    """`user` is done; the number of other users on this worker."""
    circuits = dask_worker.plugins.get(plugin)
    return 0 if circuits is None else await asyncio.to_thread(circuits.release, user)


def packed(tasks: list[Task]) -> bytes:
    """`tasks` for a group; a netlist that its skeleton gives does not travel."""
    short = [
        replace(task, deck=replace(task.deck, text="")) if task.deck.skeleton else task
        for task in tasks
    ]
    return pickle.dumps(short, -1)


def _whole(tasks: list[Task]) -> list[Task]:
    return [
        replace(task, deck=replace(task.deck, text=task.deck.skeleton.text(task.deck.fills)))
        if task.deck.skeleton
        else task
        for task in tasks
    ]


def _drained(pool: Pool, tasks: list[Task], stop: Ask) -> list[tuple[int, Outcome]]:
    """Outcomes of `tasks`; none where `stop` comes before the last."""
    for task in tasks:
        pool.submit(task)
    found: list[tuple[int, Outcome]] = []
    while len(found) < len(tasks):
        if stop():
            pool.cancel()
            return []
        found += pool.completed(LOOK)
    return found


def licence_name(simulator: str) -> str:
    """Name of the semaphore that all runs of a simulator on a cluster share."""
    return f"m3eda-licences-{simulator}"


def unlike(simulator: str, licences: int) -> str:
    """Why `licences` cannot be had."""
    return (
        f"another run on this cluster counts the licences of {simulator} with another number "
        f"than {licences}; give all runs the same, or wait until it ends"
    )
