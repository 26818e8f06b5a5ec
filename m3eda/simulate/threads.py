"""The executor of simulators that start a program for each run: threads of this process wait.

A simulator that does not return in time is left behind with its thread, which holds up neither the
run nor the end of this process.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque

from m3eda.errors import PluginError, cause
from m3eda.simulate.executor import Outcome, Task
from m3eda.simulate.process import kill_running
from m3eda.simulate.runner import GivenUp, Runner, failed_result, keep
from m3eda.simulate.types import SimulationFailed, State

_GRACE = 5.0
"""Seconds beyond the timeout that a simulator may take to return, and its results to be read and
measured: it is to end by itself, and only one that breaks the contract is left behind."""
_PATIENCE = 1.0
"""Seconds waited at the end for what was killed to tidy up."""
_SOON = 0.05
"""Seconds after which to look again for a thread that has not begun yet."""


class Threads:
    """Runs `jobs` tasks at once, each in a thread of its own. An `Executor`."""

    depth = 1

    def __init__(self, runner: Runner, jobs: int) -> None:
        self.width = jobs
        runner.attempt_begins = _attempt_begins
        self._crew = _Crew(runner, jobs)
        self._ending: list[_Worker] = []

    def submit(self, task: Task) -> None:
        self._crew.submit(task)

    def completed(self) -> list[tuple[int, Outcome]]:
        return self._crew.completed()

    def cancel(self) -> None:
        """What still runs is neither wanted nor heard of again."""
        self._ending = [each for each in self._ending if each.is_alive()] + self._crew.end()
        self._crew = _Crew(self._crew.runner, self.width)

    def close(self) -> None:
        self.cancel()
        until = time.monotonic() + _PATIENCE
        for worker in self._ending:
            worker.join(max(0.0, until - time.monotonic()))


class _Crew:
    """Tasks and the threads that run them; a thread lives as long as there is a task for it."""

    def __init__(self, runner: Runner, width: int) -> None:
        self.runner = runner
        self.done: queue.SimpleQueue[tuple[int, Outcome | BaseException]] = queue.SimpleQueue()
        self._width = width
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        """Held to change the two above."""
        self._count = 0

    def submit(self, task: Task) -> None:
        self._count += 1
        with self._lock:
            self._waiting.append(task)
            if len(self._workers) < self._width:
                self._hire()

    def completed(self) -> list[tuple[int, Outcome]]:
        found: list[tuple[int, Outcome]] = []
        while self._count and (not found or not self.done.empty()):
            try:
                number, outcome = self.done.get(timeout=self._patience())
            except queue.Empty:
                found += self._end_late()
                continue
            self._count -= 1
            if isinstance(outcome, BaseException):
                raise outcome
            found.append((number, outcome))
        return found

    def end(self) -> list[_Worker]:
        """Forget every task, and kill the programs that run; the threads that still live."""
        with self._lock:
            self._waiting.clear()
            workers = [*self._workers]
        kill_running({worker.ident or 0 for worker in workers})
        return workers

    def take(self, worker: _Worker) -> Task | None:
        """The next task for `worker`; None where it may go."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._workers.remove(worker)
            return None

    def _hire(self) -> None:
        worker = _Worker(self)
        self._workers.append(worker)
        worker.start()

    @property
    def _allowed(self) -> float:
        return self.runner.design.simulator.timeout + _GRACE

    def _patience(self) -> float:
        began = [worker.began for worker in self._workers if worker.task is not None]
        if not began:
            return _SOON
        left = min(began) + self._allowed - time.monotonic()
        return min(max(left, 1e-3), threading.TIMEOUT_MAX)

    def _end_late(self) -> list[tuple[int, Outcome]]:
        """Leave behind every simulator that has not returned: a failed result in its place."""
        found = []
        with self._lock:
            workers = [*self._workers]
        for worker in workers:
            late = time.monotonic() - worker.began > self._allowed
            task = worker.leave() if late else None
            if task is None:
                continue
            with self._lock:
                self._workers.remove(worker)
                if self._waiting:
                    self._hire()
            self._count -= 1
            found.append((task.number, self._failed(task)))
        return found

    def _failed(self, task: Task) -> Outcome:
        choice, runner = self.runner.design.simulator, self.runner
        reason = (
            f"simulator {choice.name} did not return within its timeout of {choice.timeout:g} s"
        )
        failure = SimulationFailed(State.TIMEOUT, reason)
        keep(runner.keep_failed, task.deck, failure)
        return Outcome(failed_result(runner.design, task.deck, failure))


class _Worker(threading.Thread):
    """A thread that runs one task after the other. A daemon: the process ends without it."""

    def __init__(self, crew: _Crew) -> None:
        super().__init__(name="m3eda-simulator", daemon=True)
        self.task: Task | None = None
        """What it is at."""
        self.began = 0.0
        """When the attempt it is at began."""
        self._crew = crew
        self._left = False
        self._lock = threading.Lock()

    def run(self) -> None:
        while (task := self._crew.take(self)) is not None:
            self.began, self.task = time.monotonic(), task
            outcome: Outcome | BaseException
            try:
                outcome = self._crew.runner.run(task.deck)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  raised by who waits
                outcome = error
            except BaseException as error:  # noqa: BLE001  a stranger's code may raise anything
                outcome = PluginError(f"a simulation raised {cause(error)}")
            with self._lock:
                if self._left:
                    return
                self.task = None
            self._crew.done.put((task.number, outcome))

    def leave(self) -> Task | None:
        """Give up what it is at, and the thread with it; None where that has just been done.

        A program that it waits for is killed, and a loop in Python ended: either tidies up. A wait
        in code of another language is left to itself.
        """
        with self._lock:  # so long it cannot end, and its number be given to another thread
            task = self.task
            if task is None or self.ident is None:
                return None
            self._left = True
            kill_running({self.ident})
            _end_python(self.ident)
            return task


def _attempt_begins() -> None:
    worker = threading.current_thread()
    if isinstance(worker, _Worker):
        worker.began = time.monotonic()


def _end_python(ident: int) -> None:
    """Raise GivenUp in a thread, as soon as it runs Python."""
    with contextlib.suppress(ImportError, AttributeError):  # a Python that cannot
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(GivenUp))
