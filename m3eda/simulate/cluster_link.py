"""The link to a Dask cluster: joins or starts it, watches it, and carries groups of tasks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from dask import config
from dask.utils import parse_timedelta
from distributed import Client, Future, LocalCluster, Semaphore

from m3eda.errors import ClusterError, M3edaError, cause
from m3eda.simulate.cluster_worker import (
    Circuits,
    Group,
    Report,
    licence_name,
    release_circuits,
    run_group,
    stop_groups,
    unlike,
)

_BEAT = 2.0
_START = 60.0
"""Seconds that the workers may take to load m3eda."""
_LOGGERS = {"distributed", "tornado"}
_SAME = "install the same m3eda on every node"
_AGAIN = "what was simulated is stored, and the same command goes on from there"

Found = Report | BaseException
"""What came of a group: its report, or how Dask failed."""


class Link:
    """A cluster that knows `circuits`; at `scheduler`, or with `workers` of this machine.

    `user` is the name under which groups are sent. Raises ClusterError where it cannot be used.
    """

    def __init__(
        self,
        circuits: Circuits,
        user: str,
        *,
        scheduler: str,
        workers: int,
        timeout: float,
        patience: float,
    ) -> None:
        self.threads = 0
        """What the cluster can run at once; it may change at any time."""
        self.where = scheduler or "the local Dask cluster"
        self.registered = False
        """False while the scheduler knows nothing of the circuits."""
        self._circuits, self._user = circuits, user
        self.name = _name(circuits)
        self._timeout = timeout or parse_timedelta(config.get("distributed.comm.timeouts.connect"))
        self._patience = patience
        self._lost = False
        self._heard = self._staffed = time.monotonic()
        self._client: Any = None
        self._cluster: Any = None
        self._silenced = _silence()
        try:
            if not scheduler:
                self._cluster = _local_cluster(workers)
            self._client = self._joined(scheduler)
            self._begin()
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Raises ClusterError where the cluster is lost."""
        now = time.monotonic()
        silent = now - self._heard > 2 * self._timeout
        if silent or self._client.status in {"closing", "closed"}:
            self._lost = True
            raise ClusterError(f"{self.where}: the Dask scheduler is lost; {_AGAIN}")
        if not self.threads and now - self._staffed > self._patience:
            seconds = f"{self._patience:g}"
            raise ClusterError(f"{self.where}: no worker has been there for {seconds} s; {_AGAIN}")

    def send(self, group: Group, key: str, tell: Callable[[Found], None]) -> Future:
        """Have `group` run; `tell` is called with what came of it, from another thread."""
        future = self._client.submit(run_group, group, key=key, pure=False)
        self._client.loop.add_callback(_follow, future, tell)
        return future

    def cancel(self, futures: list[Future], round: int) -> None:
        """Forget `futures`, and kill what was asked for before `round`."""

        async def cancel() -> None:
            await self._client.cancel(futures, force=True)
            arguments = (self.name, self._user, round)
            await self._client.run(stop_groups, *arguments, on_error="ignore")

        if not self._lost:
            with contextlib.suppress(Exception):  # a lost cluster simulates nothing either
                self._wait_for(cancel(), 2 * _BEAT)

    def close(self) -> None:
        """End what this link has brought to the cluster, and the cluster if it is its own."""
        client = self._client
        if client is not None and self._cluster is None and not self._lost:
            with contextlib.suppress(Exception):
                self._wait_for(self._released(), 5 * _BEAT)
        for thing, seconds in ((client, _BEAT), (self._cluster, 5 * _BEAT)):
            if thing is not None:
                with contextlib.suppress(Exception):
                    thing.close(timeout=seconds)
        for logger, level in self._silenced.items():
            logger.setLevel(level)

    def _joined(self, scheduler: str) -> Client:
        settings: dict[str, Any] = {"timeout": self._timeout, "set_as_default": False}
        try:
            if scheduler.endswith(".json"):
                _wait_for_file(Path(scheduler), self._timeout)
                settings["scheduler_file"] = scheduler
            else:
                settings["address"] = self._cluster or scheduler
            return Client(**settings)
        except (OSError, ValueError, ImportError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            text = f"{self.where}: no Dask scheduler can be reached there: {reason}"
            raise ClusterError(text) from error

    def _begin(self) -> None:
        """Tell the cluster what is to be run, and wait for its first worker."""
        try:
            self._wait_for(self._register(), max(self._timeout, _START))
        except M3edaError:
            raise
        except Exception as error:
            text = f"{self.where}: its workers cannot run m3eda: {cause(error)}; {_SAME}"
            raise ClusterError(text) from error
        self._client.loop.add_callback(self._listen)
        while not self.threads:
            self.check()
            time.sleep(0.02)

    async def _register(self) -> None:
        if self._circuits.licences:
            await self._count_licences()
        await self._client.register_plugin(self._circuits, name=self.name)
        self.registered = True
        await self._look()

    async def _count_licences(self) -> None:
        circuits, client = self._circuits, self._client
        name = licence_name(circuits.simulator)
        semaphore = Semaphore(circuits.licences, name, client.scheduler, client.loop)
        try:
            try:
                await semaphore.register()
            except ValueError as error:
                if await semaphore.get_value():
                    raise ClusterError(unlike(circuits.simulator, circuits.licences)) from error
                await semaphore.close()  # nobody holds any: an earlier run's number
                await semaphore.register()
        finally:
            if (refresh := getattr(semaphore, "refresh_callback", None)) is not None:
                refresh.stop()

    async def _listen(self) -> None:
        """Ask the scheduler again and again for its workers, to know that it is there."""
        while self._client.status not in {"closing", "closed"}:
            with contextlib.suppress(Exception):  # `check` tells when it has been silent too long
                if not self.registered and self._client.status == "running":
                    await asyncio.wait_for(self._register(), self._timeout)
                await self._look()
            await asyncio.sleep(_BEAT if self.threads and self.registered else _BEAT / 10)

    async def _look(self) -> None:
        workers = await asyncio.wait_for(self._client.scheduler.ncores(), self._timeout)
        self.threads = sum(workers.values())
        self._heard = time.monotonic()
        if self.threads:
            self._staffed = self._heard

    async def _released(self) -> None:
        """End this run's processes; the last of its users also takes the recipe away."""
        arguments = (self.name, self._user)
        left = await self._client.run(release_circuits, *arguments, on_error="ignore")
        if not any(left.values()):
            await self._client.unregister_worker_plugin(self.name)

    def _wait_for(self, coroutine: Coroutine[Any, Any, None], seconds: float) -> None:
        async def run() -> None:
            await asyncio.wait_for(coroutine, seconds)

        self._client.sync(run)


async def _follow(future: Future, tell: Callable[[Found], None]) -> None:
    """Wait for a group in the client's own thread, and tell what came of it."""
    try:
        found: Found = await future
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  the executor judges it
        found = error
    tell(found)


def _name(circuits: Circuits) -> str:
    parts = [circuits.recipe, circuits.version.encode(), str(circuits.licences).encode()]
    return f"m3eda-{hashlib.sha256(b' '.join(parts)).hexdigest()[:32]}"


def _local_cluster(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        memory_limit=0,
    )


def _wait_for_file(path: Path, seconds: float) -> None:
    """Dask itself would wait for ever. Raises FileNotFoundError."""
    ends = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > ends:
            raise FileNotFoundError(f"no such file after {seconds:g} s")
        time.sleep(0.05)


def _silence() -> dict[logging.Logger, int]:
    """Keep Dask's own log off the terminal: what matters is said by errors. Gives the levels."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in _LOGGERS]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    return levels
