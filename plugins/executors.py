"""The built-in executors, registered through the public door. Nothing heavy is imported until used.

Options of both: `licences` (most simulators at once, 0 for no limit); of `dask`: `scheduler`
(address or scheduler file of a running cluster, empty to start workers on this machine).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from m3eda.errors import PluginError
from m3eda.hookspecs import hookimpl

if TYPE_CHECKING:
    from m3eda.simulate.executor import Executor
    from m3eda.simulate.runner import Recipe


def local(recipe: Recipe, jobs: int, options: Mapping[str, Any]) -> Executor:
    """Worker processes of this machine. Raises PluginError where an option is not one."""
    from m3eda.simulate.pool import Pool

    _check("local", options, {"licences"})
    licences = int(options.get("licences", 0))
    return Pool(recipe, max(1, min(jobs, licences) if licences else jobs))


def dask(recipe: Recipe, jobs: int, options: Mapping[str, Any]) -> Executor:
    """Workers of a Dask cluster. Raises PluginError where Dask is missing, ClusterError."""
    _check("dask", options, {"licences", "scheduler"})
    try:
        from m3eda.simulate.cluster import DaskExecutor
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"dask", "distributed"}:
            raise
        text = "the executor dask needs Dask, which is not installed: pip install 'm3eda[dask]'"
        raise PluginError(text) from error
    return DaskExecutor(
        recipe,
        jobs,
        scheduler=str(options.get("scheduler", "")),
        licences=int(options.get("licences", 0)),
    )


def _check(name: str, options: Mapping[str, Any], known: set[str]) -> None:
    for key in options:
        if key not in known:
            listed = ", ".join(sorted(known))
            raise PluginError(f"the executor {name} has no option '{key}' (known: {listed})")


@hookimpl
def register_executors(register: Callable[[str, Callable[..., Executor]], None]) -> None:
    register("local", local)
    register("dask", dask)
