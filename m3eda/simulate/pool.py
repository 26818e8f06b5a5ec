"""The executor of this machine: worker processes that keep circuits loaded, and may die.

A worker holds one circuit. There are more workers than run at once where a design has several
circuits, each with its own loaded, as long as memory lasts. A worker that takes too long is killed
with its process group and replaced; a deck that kills its worker is tried once more in a process
of its own, without a session, and never a third time. A worker killed by SIGKILL was so from
outside, and its deck is tried once more as it was.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from m3eda.simulate.executor import Outcome, Task
from m3eda.simulate.runner import Recipe, failed_result, keep
from m3eda.simulate.types import Deck, SimulationFailed, State
from m3eda.simulate.zygote import Attempt, Worker, Zygote

_GRACE = 1.0
"""Seconds a worker may take beyond the timeout: a cold run ends by itself when it is over."""

_AHEAD = 2
"""Requests a worker holds at most, so that it need not wait for this process."""

_LONGEST_AHEAD = 1 << 16
"""Characters of a netlist sent to a worker that is busy: it reads nothing yet, and what does not
fit into the socket's buffer would keep this process waiting with it."""

_ROOM = 1 << 16
"""Bytes that the socket's buffer takes for certain, for requests that give new values only."""

_MOST_WORKERS = 64
_LEAST_MEMORY = 1 << 30
"""Bytes that must be free for a worker beyond those that run at once."""


class Pool:
    """Runs tasks in worker processes, `jobs` at once. An `Executor`.

    `share` is how many simulations at once share the machine's memory, those of other pools
    included; as many as `jobs` where it is not given. Raises PluginError from `completed` where
    workers cannot be made.
    """

    def __init__(self, recipe: Recipe, jobs: int = 1, share: int = 0) -> None:
        self.width = jobs
        self.depth = max(_AHEAD, recipe.ahead) + 1
        self.note = ""
        """Why simulations do not run in a session; empty where they do."""
        self._recipe = recipe
        self._zygote = Zygote(recipe, _memory_limit(share or jobs))
        self._waiting: deque[Attempt] = deque()
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._done: list[tuple[int, Outcome]] = []
        self._killers: set[str] = set()
        self._unready: set[str] = set()
        """Skeletons that a session does not make ready within the timeout."""

    def submit(self, task: Task) -> None:
        self._waiting.append(Attempt(task))
        self._dispatch()

    def completed(self, wait: float = math.inf) -> list[tuple[int, Outcome]]:
        """As in `Executor`; with `wait`, also nothing where no outcome came within so many
        seconds."""
        until = time.monotonic() + wait
        while not self._done:
            self._dispatch()
            if self._done:
                break
            busy = [worker for worker in self._workers if worker.asked]
            if not busy:
                return []
            patience = min(self._patience(busy), max(0.0, until - time.monotonic()))
            for key, _ in self._selector.select(patience):
                self._hear(key.data)
            self._end_late(busy)
            if time.monotonic() >= until:
                break
        done, self._done = self._done, []
        return done

    def cancel(self) -> None:
        busy = [worker for worker in self._workers if worker.asked]
        for worker in busy:
            worker.asked.clear()
            self._remove(worker)
        self._waiting.clear()
        self._done.clear()

    def close(self) -> None:
        for worker in [*self._workers]:
            self._remove(worker)
        self._waiting.clear()
        self._zygote.close()
        self._selector.close()

    def _dispatch(self) -> None:
        """Hand waiting tasks to workers, as far as there is room."""
        while self._waiting:
            running = sum(bool(worker.asked) for worker in self._workers)
            if running >= self.width:
                break
            attempt = self._waiting.popleft()
            if attempt.task.deck.text in self._killers:
                self._fail(attempt, SimulationFailed(State.CRASH, _TWICE))
                continue
            self._ask(self._idle(attempt.task.circuit), attempt)
        busy = [worker for worker in self._workers if worker.asked]
        while busy and self._waiting:
            worker = min(busy, key=lambda each: len(each.asked))
            following = self._following(worker)
            if following is not None:
                self._ask(worker, following)
            else:
                busy.remove(worker)

    def _following(self, worker: Worker) -> Attempt | None:
        """The next waiting task if `worker` has its circuit loaded: it will begin without delay.

        For sessions that simulate several decks at once, the next of the worker's circuit.
        """
        if worker.asked[0].late:
            return None  # what comes of it says how others of its circuit are run
        looked_at = len(self._waiting) if self._recipe.ahead else 1
        for index, attempt in enumerate(islice(self._waiting, looked_at)):
            if attempt.task.circuit == worker.circuit:
                if not self._may_wait(attempt, worker):
                    return None
                del self._waiting[index]
                return attempt
        return None

    def _may_wait(self, attempt: Attempt, worker: Worker) -> bool:
        """Whether `attempt` may be sent to `worker`, which is busy."""
        deck = attempt.task.deck
        if len(worker.asked) >= self._ahead(deck) or len(deck.text) > _LONGEST_AHEAD:
            return False
        return not attempt.cold and deck.text not in self._killers

    def _ahead(self, deck: Deck) -> int:
        """Requests that a worker may hold, `deck` the last of them."""
        if deck.skeleton is None:
            return _AHEAD
        return max(_AHEAD, min(self._recipe.ahead, _ROOM // (64 * (1 + len(deck.values)))))

    def _idle(self, circuit: str) -> Worker:
        """A worker with nothing to do: one that has `circuit`, else a new one, else the oldest."""
        idle = [worker for worker in self._workers if not worker.asked]
        fitting = next((worker for worker in idle if worker.circuit == circuit), None)
        if fitting is not None:
            return fitting
        if idle and not self._room():
            return min(idle, key=lambda worker: worker.used)
        worker = Worker.start(self._zygote)
        self._workers.append(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)
        return worker

    def _room(self) -> bool:
        """True where another worker may be kept beside those there are."""
        if len(self._workers) < self.width:
            return True
        return len(self._workers) < _MOST_WORKERS and _available() > _LEAST_MEMORY

    def _ask(self, worker: Worker, attempt: Attempt) -> None:
        worker.used = time.monotonic()
        attempt.cold |= attempt.skeleton in self._unready
        with contextlib.suppress(OSError):  # it is dead: its connection will tell
            worker.ask(attempt)

    def _hear(self, worker: Worker) -> None:
        """Take what `worker` has to say."""
        if worker not in self._workers:
            return
        reply = worker.hear()
        if reply is None:
            self._bury(worker)
            return
        if reply.note:
            self.note = reply.note
        if reply.error is not None:
            raise reply.error
        if reply.outcome is None:
            return
        attempt = worker.asked.popleft()
        if not attempt.cold:
            worker.ready.add(attempt.skeleton)
        if attempt.late and reply.outcome.result.state is not State.TIMEOUT:
            self._unready.add(attempt.skeleton)
            self.note = f"{attempt.task.circuit}: {_UNREADY}"
        self._done.append((attempt.task.number, reply.outcome))
        if reply.broken:
            self._remove(worker)

    def _patience(self, busy: list[Worker]) -> float:
        latest = min(worker.began for worker in busy) + self._timeout
        return max(0.0, latest - time.monotonic()) + 1e-3

    @property
    def _timeout(self) -> float:
        return self._recipe.design.simulator.timeout + _GRACE

    def _end_late(self, busy: list[Worker]) -> None:
        """Kill every worker whose simulation takes longer than it may."""
        now = time.monotonic()
        for worker in busy:
            if worker in self._workers and worker.asked and now - worker.began > self._timeout:
                attempt = worker.asked.popleft()
                first = attempt.skeleton not in worker.ready
                self._remove(worker)
                if first and attempt.skeleton and not attempt.cold:
                    # it may have taken the session all the time to find out how to run it
                    attempt.late = attempt.cold = True
                    self._waiting.appendleft(attempt)
                    continue
                reason = f"no result within {self._recipe.design.simulator.timeout:g} s"
                self._fail(attempt, SimulationFailed(State.TIMEOUT, reason), attempt.deaths + 1)

    def _bury(self, worker: Worker) -> None:
        """A worker died: what it was at is tried once more, what waited behind it goes back."""
        attempt = worker.asked.popleft() if worker.asked else None
        log = worker.log()
        code = self._remove(worker)
        if attempt is None:
            return
        attempt.deaths += 1
        if attempt.deaths == 1:
            # killed from outside it is not to blame: its result must be that of any other run
            attempt.cold = code != -signal.SIGKILL
            self._waiting.appendleft(attempt)
            return
        self._killers.add(attempt.task.deck.text)
        failure = SimulationFailed(State.CRASH, f"{_TWICE} ({_ended(code)})", log)
        self._fail(attempt, failure, attempt.deaths)

    def _remove(self, worker: Worker) -> int:
        """End `worker`; what it had not begun waits again, in order."""
        self._workers.remove(worker)
        self._selector.unregister(worker.connection)
        self._waiting.extendleft(reversed(worker.asked))
        return worker.close(self._zygote)

    def _fail(self, attempt: Attempt, failure: SimulationFailed, runs: int = 0) -> None:
        """Give up `attempt`, which was run so many times."""
        deck = attempt.task.deck
        keep(self._recipe.keep_failed, deck, failure)
        result = replace(failed_result(self._recipe.design, deck, failure), runs=runs)
        self._done.append((attempt.task.number, Outcome(result)))


_TWICE = "the simulator's process died twice of this deck"
_UNREADY = "not made ready in a session within the timeout: every simulation starts a process"


def _ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _memory_limit(share: int) -> int:
    """Bytes of address space a worker may take: its share of what the machine has."""
    total = _meminfo("MemTotal")
    return max(total * 3 // 4 // share, 2 << 30) if total else 0


def _available() -> int:
    return _meminfo("MemAvailable") or 2 * _LEAST_MEMORY


def _meminfo(key: str) -> int:
    """A line of /proc/meminfo in bytes; 0 where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _lines(Path("/proc/meminfo")):
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii") as file:
        yield from file
