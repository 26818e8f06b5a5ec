"""m3eda from Python: load a design, size it, look at the result.

`size` runs to the end, `start` hands over each trial as it comes, `evaluate` simulates one point.
Nothing is printed, errors are exceptions (`M3edaError`), and what the command line does is done by
the same loop: same design, same seed, same trials.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3eda import loop
from m3eda.design.types import NOMINAL, STRATEGIES, Design, Value
from m3eda.errors import DesignError, Mistake, PluginWarning
from m3eda.flow import FAILED, Execution, Prepared, Project, prepare
from m3eda.loop import Change, Command, End, Stop
from m3eda.result import Result
from m3eda.simulate.failures import SystematicFailure
from m3eda.simulate.trial import Trial, score

if TYPE_CHECKING:
    from m3eda.signoff.monte_carlo import Outcome


def load_design(path: str | Path) -> Design:
    """The design file at `path`, read and checked, with the plugins it names.

    Raises DesignError with every mistake in `mistakes`, and PluginError.
    """
    return Project.load(Path(path).expanduser()).design


def size(
    design: Design | str | Path,
    *,
    agent: str | None = None,
    simulator: str | None = None,
    budget: int | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    batch: int | None = None,
    corners: Sequence[str] | None = None,
    strategy: str | None = None,
    timeout: float | None = None,
    jobs: int = 1,
    execution: Execution | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    fresh: bool = False,
    on_trial: Callable[[Trial], object] | None = None,
) -> Result:
    """Size `design` to the end, and give what came out; nothing is printed.

    `agent` to `timeout` stand in for the design's own words, None leaves one as it is; `seconds`
    is wall time. `corners`, names or `all`, are those that specs must hold at besides the nominal
    one, `strategy` is how they are taken up. `jobs` simulations run at once on this machine; an
    `Execution` says more, such as a cluster. The run is kept in `run_dir`: the same call goes on
    there after an interruption, `resume` learns from other specs' runs, `fresh` begins anew.
    Without `run_dir` nothing is left on disk. `on_trial` is called with each trial.

    Raises ValueError for an argument that cannot be, DesignError (where every first point fails
    too, with the place at fault and the failed deck's), PluginError, SimulatorMissing and
    StorageError.
    """
    with start(
        design, agent=agent, simulator=simulator, budget=budget, seconds=seconds, seed=seed,
        batch=batch, corners=corners, strategy=strategy, timeout=timeout, jobs=jobs,
        execution=execution, run_dir=run_dir, resume=resume, fresh=fresh,
    ) as sizing:  # fmt: skip
        for trial in sizing:
            if on_trial is not None:
                on_trial(trial)
        return sizing.result()


def start(
    design: Design | str | Path,
    *,
    agent: str | None = None,
    simulator: str | None = None,
    budget: int | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    batch: int | None = None,
    corners: Sequence[str] | None = None,
    strategy: str | None = None,
    timeout: float | None = None,
    jobs: int = 1,
    execution: Execution | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    fresh: bool = False,
) -> Sizer:
    """A run that is ready to go: iterate over it for its trials, within `with`.

    Arguments and errors are those of `size`; the simulator's come while iterating.
    """
    execution = execution or Execution(jobs)
    _check_counts(1, budget=budget, batch=batch, jobs=execution.jobs)
    _check_counts(0, seed=seed, licences=execution.licences)
    _check_times(seconds=seconds, timeout=timeout)
    if strategy not in (None, *STRATEGIES):
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if resume and (fresh or run_dir is None):
        raise ValueError("resume needs a run_dir, and is no use with fresh")
    project = _project(
        design, agent=agent, simulator=simulator, budget=budget, seconds=seconds, seed=seed,
        batch=batch, corners=corners, strategy=strategy, timeout=timeout,
    )  # fmt: skip
    if run_dir is not None:
        folder = Path(run_dir).expanduser()
        prepared = prepare(project, folder, execution=execution, resume=resume, fresh=fresh)
        return Sizer(prepared, folder)
    folder = Path(tempfile.mkdtemp(prefix="m3eda-run-"))
    try:
        return Sizer(prepare(project, folder, execution=execution), folder, temporary=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def evaluate(design: Design | str | Path, sizing: Mapping[str, Value] | None = None) -> Trial:
    """Simulate one point: `sizing` over the designer's start (else the middle of each range).

    Raises DesignError for a name that is no parameter; a simulation that fails is told in the
    trial's `state` and `reason`.
    """
    project = _project(design)
    given = dict(sizing or {})
    for name in given:
        if name not in project.design.parameters:
            raise _unknown(project.design, "parameter", name, project.design.parameters)
    evaluator = project.evaluator()
    whole = evaluator.complete({**project.nominal_sizing(), **given})
    design = project.design
    with contextlib.closing(evaluator.evaluate([whole], design.required)) as results:
        return score(0, whole, next(results), design.specs, design.required)


def monte_carlo(
    design: Design | str | Path,
    sizing: Mapping[str, Value] | None = None,
    *,
    samples: int | None = None,
    target: float | None = None,
    seed: int | None = None,
    corners: Sequence[str] = (NOMINAL,),
    jobs: int = 1,
) -> Outcome:
    """Draw Monte Carlo samples of one point, `sizing` over the designer's start.

    What varies is the design's `variation`, else mismatch; `samples`, `target` (a yield between 0
    and 1, at which sampling ends as soon as it is shown or refuted) and `seed` stand in for its
    words. A sample is good where every spec holds at each of `corners`. Raises DesignError where
    nothing can be drawn, ValueError for an argument that cannot be, SimulatorMissing.
    """
    from m3eda.design.variation import check_variation, with_variation
    from m3eda.signoff.monte_carlo import make_plan
    from m3eda.signoff.monte_carlo import monte_carlo as draw
    from m3eda.signoff.verify import chosen_corners

    _check_counts(2, samples=samples)
    _check_counts(0, seed=seed)
    if target is not None and not 0.0 < target < 1.0:
        raise ValueError(f"target is {target!r}; a share between 0 and 1 is right")
    project = _project(design)
    varied = with_variation(project.design, samples=samples, yield_target=target, seed=seed)
    check_variation(varied)
    chosen = chosen_corners(varied, corners)
    with contextlib.closing(
        replace(project, design=varied).evaluator(Execution(jobs))
    ) as evaluator:
        whole = evaluator.complete({**project.nominal_sizing(), **(sizing or {})})
        return draw(varied, evaluator, whole, make_plan(varied, evaluator, whole, chosen))


class Sizer:
    """A run, iterated over for its trials. Leaving `with` stops what still simulates.

    With a run directory, leaving early or being interrupted loses nothing: the next run with the
    same arguments goes on.
    """

    def __init__(self, prepared: Prepared, run_dir: Path, *, temporary: bool = False) -> None:
        self.run_dir = run_dir
        self.ending: End | None = None
        """Why the run ended; None before."""
        self._prepared = prepared
        self._temporary = temporary
        self._told_of_decks = False
        self._trials: Generator[Trial, Command | None, End] = loop.size(prepared.run)
        self._commands: list[Command] = []
        self._started: float | None = None
        self._seconds = 0.0

    @property
    def design(self) -> Design:
        """The design as it is now, changes asked for included."""
        asked = [command.design for command in self._commands if isinstance(command, Change)]
        return asked[-1] if asked else self._prepared.run.design

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial so far, scored by the specs of today."""
        return tuple(self._prepared.run.trials)

    def __enter__(self) -> Sizer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Trial]:
        while (trial := self._next()) is not None:
            yield trial

    def change(self, design: Design) -> None:
        """Go on with `design`, such as `sizer.design.pinned("cc", 2e-12)`, after this trial.

        The trials so far are scored anew; those that are no sizing of it, such as with another
        value of the pinned parameter, are kept, but are never its result. Raises DesignError for a
        spec or an objective on no measure, and for a spec without a limit.
        """
        _check_specs(design)
        self._commands.append(Change(design))

    def stop(self) -> None:
        """End the run after this trial, as if the budget were spent."""
        self._commands.append(Stop())

    def result(self) -> Result:
        """What came out so far; everything once the iteration has ended."""
        run, prepared = self._prepared.run, self._prepared
        summary = prepared.summary(self._seconds, self.ending)
        return Result(summary, tuple(run.trials), run.evaluator)

    def close(self) -> None:
        """Stop what still simulates, and let go of the run directory.

        A temporary one is removed, but for the failed decks that an error has told of.
        """
        self._trials.close()
        self._prepared.close()
        if self._temporary and not self._told_of_decks:
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def _next(self) -> Trial | None:
        """The next trial, all commands given so far having been sent; None at the end."""
        if self.ending is not None:
            return None
        first, began = self._started is None, time.monotonic()
        self._started = began if self._started is None else self._started
        command = None if first else self._command()
        try:
            trial = next(self._trials) if command is None else self._trials.send(command)
        except StopIteration as stop:
            self.ending = stop.value
            return None
        except SystematicFailure as failure:
            self._told_of_decks = True
            raise failure.located(self.design, self.run_dir / FAILED) from failure
        finally:
            self._seconds = time.monotonic() - self._started
        for line in self._prepared.project.plugins.trial_finished(self.design, trial):
            warnings.warn(line, PluginWarning, stacklevel=2)
        return trial

    def _command(self) -> Command | None:
        """The last command given: a later change holds the earlier ones, and none undoes a stop."""
        given, self._commands = self._commands, []
        stops: list[Command] = [command for command in given if isinstance(command, Stop)]
        return next(iter(stops or given[-1:]), None)


def _project(design: Design | str | Path, **overrides: Any) -> Project:
    if not isinstance(design, Design):
        return Project.load(Path(design).expanduser(), **overrides)
    _check_specs(design)
    return Project.of(design, **overrides)


def _check_specs(design: Design) -> None:
    """A design changed in Python may ask for what cannot be. Raises DesignError."""
    for name in (*design.specs, *design.objective.minimize, *design.objective.maximize):
        if name not in design.measures:
            raise _unknown(design, "measure", name, design.measures)
    for name, spec in design.specs.items():
        for limits in (spec.limits, *spec.corners.values()):
            ends = (limits.minimum, limits.maximum, limits.tolerance and limits.target)
            if all(end is None for end in ends) or limits.tolerance == 0.0:
                hint = "give Limits a minimum, a maximum, or a target and a tolerance above 0"
                raise DesignError(
                    [Mistake(f"the spec on {name} has no limit", design.path, hint=hint)]
                )


def _unknown(design: Design, word: str, name: str, known: Mapping[str, object]) -> DesignError:
    from m3eda.design.yamlfile import nearest

    hint = nearest(name, known) or f"known: {', '.join(known)}"
    return DesignError([Mistake(f"no {word} is called '{name}'", design.path, hint=hint)])


def _check_counts(least: int, **counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not isinstance(count, int) or count < least):
            raise ValueError(f"{name} is {count!r}; a whole number from {least} on is right")


def _check_times(**times: float | None) -> None:
    for name, value in times.items():
        if value is not None and not 0.0 < value < float("inf"):
            raise ValueError(f"{name} is {value!r}; a number of seconds above 0 is right")
