"""What `m3eda train` does. torch is imported once the configuration is known to be good."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, ExitCode, Mistake, PluginError
from m3eda.policy.settings import BASELINES, METHODS, TrainFile, load_training
from m3eda.report.screen import emit
from m3eda.report.training import TrainingDisplay

if TYPE_CHECKING:
    from m3eda.policy.run import Run


@dataclass(frozen=True)
class TrainOptions:
    """The options of `m3eda train`."""

    out: Path | None = None
    seed: int | None = None
    steps: int | None = None
    method: str | None = None
    fresh: bool = False
    jobs: int = 1
    threads: int = 1
    device: str = "cpu"
    as_json: bool = False
    quiet: bool = False


def train_command(config: Path, options: TrainOptions) -> ExitCode:
    """Train as `config` says, going on where an earlier command of the same run was stopped.

    Raises DesignError, StorageError, SimulatorMissing, SimulatorBroken, TrainingDiverged.
    """
    settings = configured(config, options)
    _check_installed(settings.method)
    import torch

    torch.set_num_threads(options.threads)
    folder = options.out or config.absolute().parent / "training" / settings.train
    display = TrainingDisplay(settings.train, sys.stderr, os.environ, options.quiet)
    with display:
        run = _run(settings, options, folder)
        run.go(display)
    if options.as_json:
        emit(sys.stdout, run.report() + "\n")
    return ExitCode.SPECS_MET


def _check_installed(method: str) -> None:
    """Raises PluginError with what to install."""
    needed = {"torch": "m3", "safetensors": "m3"}
    if method in BASELINES:
        needed |= {"stable_baselines3": "baselines", "gymnasium": "baselines"}
    if method == "trpo":
        needed["sb3_contrib"] = "baselines"
    for module, extra in needed.items():
        if find_spec(module) is None:
            what = f"method {method}" if extra == "baselines" else "m3eda train"
            raise PluginError(f"{what} needs {module}: pip install 'm3eda[{extra}]'")


def _run(settings: TrainFile, options: TrainOptions, folder: Path) -> Run:
    """Raises DesignError, StorageError."""
    device = _device(options.device)
    if settings.method in BASELINES:
        from m3eda.policy.baselines import BaselineRun, make_baseline

        trainer = make_baseline(settings, options.jobs, device)
        return BaselineRun(trainer, folder, fresh=options.fresh)
    from m3eda.policy.run import TrainingRun, make_trainer

    return TrainingRun(make_trainer(settings, options.jobs, device), folder, fresh=options.fresh)


def configured(config: Path, options: TrainOptions) -> TrainFile:
    """The configuration with what the command line says in its place. Raises DesignError."""
    if options.method is not None and options.method not in METHODS:
        hint = nearest(options.method, METHODS) or f"one of {', '.join(METHODS)}"
        raise DesignError([Mistake(f"no method '{options.method}'", key="--method", hint=hint)])
    given = {"seed": options.seed, "steps": options.steps, "method": options.method}
    return load_training(config, {k: v for k, v in given.items() if v is not None})


def _device(name: str) -> str:
    """Raises DesignError where torch cannot compute there."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        mistake = Mistake(f"torch cannot use '{name}': {reason}", key="--device", hint="cpu")
        raise DesignError([mistake]) from error
    return name
