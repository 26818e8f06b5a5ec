"""From a design file to a run that is ready to go: the parts, put together.

Both the command line and Python scripts start here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m3eda.agents.guard import make_agent
from m3eda.agents.types import Agent
from m3eda.design import load_design, local_plugins, mistake_at
from m3eda.design.corners import signed_off
from m3eda.design.snapshot import design_hash, restore
from m3eda.design.space import Space
from m3eda.design.ties import at_nominal, complete
from m3eda.design.types import ALL_CORNERS, Design, Sizing
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake, StorageError
from m3eda.ledger import Ledger
from m3eda.loop import End, Run
from m3eda.plugins import Plugins, build_simulator, tools, version_of
from m3eda.pvt.choice import make_exploration
from m3eda.recipe import segment_of
from m3eda.report.summary import Summary, summarize
from m3eda.simulate.cache import Cache
from m3eda.simulate.evaluator import LADDER, Evaluator
from m3eda.simulate.executor import Executor
from m3eda.simulate.files import content_hash, included_files
from m3eda.simulate.kit import kit_mistakes
from m3eda.simulate.python_netlist import is_python
from m3eda.simulate.render import Renderer, template_folders, template_names
from m3eda.simulate.runner import Recipe, decks_ahead
from m3eda.simulate.types import Simulator, WarmSimulator

KNOWING = "m3"
"""The agent that goes by networks."""
FAILED = "failed"
"""Where a run directory keeps the first failed deck of each kind."""


@dataclass(frozen=True)
class Execution:
    """Where and how simulations run."""

    jobs: int = 1
    """Simulations run at once."""
    strict: bool = False
    """Allow no way that differs from a fresh simulator process by more than 1e-12."""
    cold: bool = False
    """Start a simulator process for each run, though the simulator can do better."""
    executor: str = "local"
    scheduler: str = ""
    """Address of a cluster's scheduler, for the executor `dask`."""
    licences: int = 0
    """Largest number of simulators at once, wherever they run; 0 takes the design's word."""
    cache: bool = True
    """Take results from other runs of this user, and give to them."""

    def settings(
        self, project: Project, simulator: Simulator, keep_failed: Path | None
    ) -> dict[str, Any]:
        """What an evaluator must know of it; without `make_executor` it runs in this process."""
        design = project.design
        licences = self.licences or design.simulator.licences
        jobs = min(self.jobs, licences) if licences else self.jobs
        warm = isinstance(simulator, WarmSimulator) and not self.cold
        mode = ("strict" if self.strict else "default") if warm else ""
        if self.executor == "local" and not warm:
            return {"mode": mode, "jobs": jobs}
        factory = project.plugins.look_up("executors", self.executor)
        options = {"scheduler": self.scheduler, "licences": licences}
        given = {key: value for key, value in options.items() if value}
        ahead = decks_ahead(simulator, design) if warm else 0

        def make(changed: Design) -> Executor:
            recipe = Recipe(changed, tools, self.strict, self.cold, keep_failed, ahead)
            executor: Executor = factory(recipe, self.jobs, given)
            return executor

        return {"mode": mode, "jobs": jobs, "make_executor": make}


CORNERS_LISTED = 20
EXECUTION = Execution()
"""One simulation at a time on this machine, the fastest way."""


@dataclass(frozen=True)
class Project:
    """A loaded design with the plugins it needs."""

    design: Design
    plugins: Plugins

    @classmethod
    def load(cls, path: Path, **overrides: Any) -> Project:
        """Load a design file. `overrides` replace its own choices: simulator, agent, budget,
        seconds, seed, batch, timeout, `policy`, a file by which the agent `m3` is to go, and of the
        sign-off `corners`, names or `all`, and `strategy`; None leaves one as it is.

        Raises DesignError with every mistake, PluginError.
        """
        plugins = Plugins(local_plugins(path))
        design = load_design(
            path,
            plugins.measures,
            plugins.technologies,
            lambda template, _: template_names(
                template, template_folders(template, path.resolve())
            ),
        )
        _check_choices(path, design, plugins, overrides)
        check_corners(design, overrides.get("corners") or ())
        if mistakes := kit_mistakes(design):
            raise DesignError(mistakes)
        return cls(_overridden(design, overrides), plugins)

    @classmethod
    def of(cls, design: Design, **overrides: Any) -> Project:
        """A design that is loaded already, perhaps changed since; `overrides` as in `load`."""
        plugins = Plugins(design.plugins)
        check_corners(design, overrides.get("corners") or ())
        chosen = _overridden(design, overrides)
        plugins.look_up("simulators", chosen.simulator.name)
        plugins.look_up("agents", chosen.agent.name)
        return cls(chosen, plugins)

    def simulator(self) -> Simulator:
        """The simulator the design names, built with its options."""
        return build_simulator(self.plugins, self.design)

    def evaluator(self, execution: Execution | None = None, **settings: Any) -> Evaluator:
        """An evaluator on the design's simulator; close it when it is no longer needed.

        Without `execution` it simulates in this process, the plain way. Raises SimulatorMissing.
        """
        simulator = self.simulator()
        version = version_of(simulator, self.design.simulator.name)
        if execution is not None:
            settings |= execution.settings(self, simulator, settings.get("keep_failed"))
        return Evaluator(
            self.design,
            simulator,
            self.plugins.measures,
            version=version,
            setup=_setup(simulator, self.plugins),
            **settings,
        )

    def agent(self, design: Design) -> Agent:
        return make_agent(self.plugins.look_up("agents", design.agent.name), design)

    def agent_files(self) -> list[Path]:
        """Files that decide what the design's agent asks, where its factory tells (`files`)."""
        files = getattr(self.plugins.look_up("agents", self.design.agent.name), "files", None)
        return list(files(self.design)) if callable(files) else []

    def nominal_sizing(self) -> Sizing:
        """The designer's start, or the centre of every range."""
        space = Space(self.design)
        return space.sizing(space.centre()) if space.dimension else {}

    def files(self, sizing: Sizing) -> list[Path]:
        """Every file that decides a result: YAML, templates, includes, libraries, plugins."""
        design = self.design
        sizing = complete(design, sizing)
        renderer = Renderer(design)
        found = [*design.sources, *self.plugins.files]
        for testbench in design.testbenches.values():
            found += renderer.deck(at_nominal(design, testbench), design.nominal, sizing).files
        if design.netlist is not None:
            found += renderer.netlist_files(sizing)
        return list(dict.fromkeys(inner for path in found for inner in included_files(path)))

    def built(self, sizing: Sizing) -> list[str]:
        """Hashes of the netlists that Python files give at `sizing`.

        Such a file may read others, or import what lies elsewhere, and `files` does not tell.
        """
        design = self.design
        sizing = complete(design, sizing)
        renderer = Renderer(design)
        testbenches = [at_nominal(design, each) for each in design.testbenches.values()]
        texts = [
            renderer.deck(each, design.nominal, sizing).text
            for each in testbenches
            if is_python(each.template)
        ]
        return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


@dataclass
class Prepared:
    """A run, its ledger and its hashes."""

    project: Project
    run: Run
    ledger: Ledger
    hash: str
    """Of the design and its files, as printed in results."""
    files: list[Path]
    version: str
    """The simulator's."""
    cache: Cache | None = None

    @property
    def notes(self) -> list[str]:
        """What the user should know of how this run is done."""
        found = [] if self.cache is None else [self.cache.note]
        if self.ledger.salvaged:
            text = "the ledger was damaged: its readable part is kept, the rest simulated again"
            found.append(text)
        return [note for note in found if note]

    def summary(self, seconds: float, ending: End | None) -> Summary:
        """The run as it stands; `seconds` is the wall time of this call."""
        run, choice = self.run, self.run.design.agent
        return summarize(
            run.design,
            run.trials,
            agent=choice.name,
            seed=choice.seed,
            simulator=self.version,
            design_hash=self.hash,
            simulations=len(run.trials) - run.replayed,
            samples=run.samples,
            seconds=seconds,
            ending=ending,
            method=run.said("describe"),
            doubt=run.said("doubt"),
            spent=run.evaluator.spent,
        )

    def close(self) -> None:
        """End what simulates, and store what is left to store."""
        self.run.evaluator.close()
        if self.cache is not None:
            self.cache.close()
        self.ledger.close()


def prepare(
    project: Project,
    run_dir: Path,
    *,
    execution: Execution = EXECUTION,
    resume: bool = False,
    fresh: bool = False,
) -> Prepared:
    """Make a run ready in `run_dir`, going on with the same recipe where it was begun before.

    `resume` also tells the agent what other recipes on the same circuit have learned there;
    `fresh` sets an earlier ledger aside. Raises StorageError, SimulatorMissing, DesignError.
    """
    if resume and not (run_dir / "ledger.sqlite").is_file():
        raise StorageError(f"{run_dir}: nothing to resume there; leave --resume out to begin")
    evaluator = project.evaluator(execution, keep_failed=run_dir.absolute() / FAILED)
    sizing = project.nominal_sizing()
    files = project.files(sizing)
    contents = [content_hash(path) for path in files if path.suffix not in {".yaml", ".yml"}]
    built = project.built(sizing)
    if fresh:
        _set_aside(run_dir)
    ledger = Ledger(run_dir)
    cache = Cache.of_user() if execution.cache else None
    try:
        evaluator.store, evaluator.cache = ledger, cache
        design = project.design
        if not design.agent.batch:
            runs = evaluator.runs * len(make_exploration(design).active)
            design = _with_batch(design, -(-evaluator.executor.width // runs))
        learnt = [content_hash(path) for path in project.agent_files()]
        segment, prior = segment_of(
            ledger, project.design, design, [*contents, *built], evaluator, resume, learnt
        )
        begun = restore(segment.design).agent
        if not project.design.agent.batch:
            design = _with_batch(design, begun.batch)
        run = Run(design, evaluator, project.agent, ledger, segment.id, prior, begun.budget)
    except BaseException:
        evaluator.close()
        ledger.close()
        raise
    hashed = design_hash(project.design, contents)
    return Prepared(project, run, ledger, hashed, files, evaluator.version, cache)


def _setup(simulator: Simulator, plugins: Plugins) -> str:
    """Hash of what else decides a result: the start file that a simulator reads, where it tells
    (`start_file`), and the versions of installed plugins. Empty where there is nothing."""
    read = getattr(simulator, "start_file", None)
    text = str(read()) if callable(read) else ""
    text += "".join(f"\0{name} {version}" for name, version in sorted(plugins.versions.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest() if text else ""


def _with_batch(design: Design, batch: int) -> Design:
    return replace(design, agent=replace(design.agent, batch=batch))


def _check_choices(
    file: Path, design: Design, plugins: Plugins, overrides: Mapping[str, Any]
) -> None:
    """Refuse an agent, simulator or step of the ladder that nobody knows."""
    mistakes = []
    for key, hook, name in (
        ("simulator", "simulators", design.simulator.name),
        ("agent", "agents", design.agent.name),
    ):
        table = plugins.table(hook)
        if overrides.get(key) is not None:
            table.look_up(overrides[key])
        elif name not in table:
            mistakes.append(mistake_at(file, (key, "name"), *table.missing(name)))
    for index, step in enumerate(design.failures.ladder):
        if step not in LADDER:
            path = ("failures", "ladder", index)
            text = f"no step of the ladder is called '{step}'"
            hint = nearest(step, LADDER) or f"known: {', '.join(LADDER)}"
            mistakes.append(mistake_at(file, path, text, hint))
    if mistakes:
        raise DesignError(mistakes)


def check_corners(design: Design, names: Sequence[str]) -> None:
    """Raises DesignError with every one of `names` that is no corner of `design`, nor the word for
    all of them."""
    known = [corner.name for corner in (design.nominal, *design.corners)]
    mistakes = []
    for name in names:
        if name not in known and name != ALL_CORNERS:
            hint = nearest(name, known) or f"known: {', '.join(known[:CORNERS_LISTED])}"
            text = f"no corner is called '{name}'"
            mistakes.append(Mistake(text, design.path, key="corners", hint=hint))
    if mistakes:
        raise DesignError(mistakes)


def _overridden(design: Design, overrides: Mapping[str, Any]) -> Design:
    given = {key: value for key, value in overrides.items() if value is not None}
    agent: dict[str, Any] = {
        k: given[k] for k in ("budget", "seconds", "seed", "batch") if k in given
    }
    simulator: dict[str, Any] = {k: given[k] for k in ("timeout",) if k in given}
    if "agent" in given and given["agent"] != design.agent.name:
        agent |= {"name": given["agent"], "options": {}}
    if "policy" in given:
        kept = design.agent.options if design.agent.name == KNOWING else {}
        path = os.path.relpath(given["policy"], design.path.parent)
        agent |= {"name": KNOWING, "options": {**kept, "policy": path}}
    if "simulator" in given and given["simulator"] != design.simulator.name:
        simulator |= {"name": given["simulator"], "options": {}}
    corners = given.get("corners") or design.signoff.corners
    strategy = given.get("strategy") or design.signoff.strategy
    return replace(
        design,
        signoff=signed_off(design.corners, corners, strategy),
        agent=replace(design.agent, **agent),
        simulator=replace(design.simulator, **simulator),
    )


def _set_aside(run_dir: Path) -> None:
    """Rename an earlier ledger, so that a fresh run begins and nothing is lost."""
    path = run_dir / "ledger.sqlite"
    if not path.exists():
        return
    Ledger(run_dir).close()  # claims the directory and folds the write-ahead log in
    number = 1
    while (aside := run_dir / f"ledger.old-{number}.sqlite").exists():
        number += 1
    path.rename(aside)
