"""What policies learn from: tasks with their splits, datasets of simulations, environments.

No torch here. gymnasium is imported by `environment` and `vector` alone. Names are imported when
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3eda.learning.dataset import Plan, make_dataset
    from m3eda.learning.environment import MultiCircuitEnv, SizingEnv
    from m3eda.learning.reader import Dataset, find_datasets, read_dataset
    from m3eda.learning.settings import Setting, library_settings
    from m3eda.learning.simulations import Simulations
    from m3eda.learning.tasks import Task, TaskGenerator
    from m3eda.learning.vector import SizingVectorEnv

__all__ = [
    "Dataset",
    "MultiCircuitEnv",
    "Plan",
    "Setting",
    "Simulations",
    "SizingEnv",
    "SizingVectorEnv",
    "Task",
    "TaskGenerator",
    "find_datasets",
    "library_settings",
    "make_dataset",
    "read_dataset",
]

_HOMES = {
    "Dataset": "reader",
    "MultiCircuitEnv": "environment",
    "Plan": "dataset",
    "Setting": "settings",
    "Simulations": "simulations",
    "SizingEnv": "environment",
    "SizingVectorEnv": "vector",
    "Task": "tasks",
    "TaskGenerator": "tasks",
    "find_datasets": "reader",
    "library_settings": "settings",
    "make_dataset": "dataset",
    "read_dataset": "reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'm3eda.learning' has no attribute '{name}'")
    value = getattr(import_module(f"m3eda.learning.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
