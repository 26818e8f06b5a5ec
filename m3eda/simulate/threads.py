"""The executor of simulators that start a program for each run: threads of this process wait."""

from __future__ import annotations

import queue
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from m3eda.simulate.executor import Outcome, Task
from m3eda.simulate.process import kill_running
from m3eda.simulate.runner import Runner


class Inline:
    """Runs one task after the other in the calling thread, when it is waited for."""

    width = 1
    depth = 1

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._waiting: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def completed(self) -> list[tuple[int, Outcome]]:
        if not self._waiting:
            return []
        task = self._waiting.popleft()
        return [(task.number, self._runner.run(task.deck))]

    def cancel(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        self.cancel()


class Threads:
    """Runs `jobs` tasks at once, each in a thread of its own."""

    depth = 1

    def __init__(self, runner: Runner, jobs: int) -> None:
        self.width = jobs
        self._runner = runner
        self._begin()

    def submit(self, task: Task) -> None:
        done = self._done
        self._count += 1
        future = self._threads.submit(self._runner.run, task.deck)
        future.add_done_callback(lambda finished: done.put((task.number, finished)))

    def completed(self) -> list[tuple[int, Outcome]]:
        found: list[tuple[int, Outcome]] = []
        while self._count and (not found or not self._done.empty()):
            number, future = self._done.get()
            self._count -= 1
            found.append((number, future.result()))
        return found

    def cancel(self) -> None:
        """What still runs is neither wanted nor heard of again."""
        self.close()
        self._begin()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        kill_running(self._idents)

    def _begin(self) -> None:
        # another run of this process may have simulations of its own: only these threads' are ended
        self._idents: set[int] = set()
        idents = self._idents
        self._threads = ThreadPoolExecutor(
            self.width, "m3eda", initializer=lambda: idents.add(threading.get_ident())
        )
        self._done: queue.SimpleQueue[tuple[int, Future[Outcome]]] = queue.SimpleQueue()
        self._count = 0
