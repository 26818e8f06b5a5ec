"""What `m3eda crosscheck` does: the same sizings on two simulators, side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from m3eda.crosscheck.comparison import compare
from m3eda.crosscheck.sides import chosen_simulators, given_options, on, simulated
from m3eda.crosscheck.sizings import POINTS, read_sizings, spread_sizings
from m3eda.crosscheck.tables import Outcome, Side, outcome_json, outcome_text
from m3eda.crosscheck.tolerances import Rule, default_rules, with_given
from m3eda.design.ties import at_nominal, complete
from m3eda.design.types import Sizing
from m3eda.errors import DesignError, ExitCode, Mistake
from m3eda.flow import EXECUTION, Execution, Project
from m3eda.inspection import failed_folder, given_sizing, unsimulated
from m3eda.simulate.cache import Cache
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.render import Renderer
from m3eda.simulate.types import State


@dataclass(frozen=True)
class CrosscheckOptions:
    """The options of `m3eda crosscheck`."""

    simulator: str | None = None
    against: str | None = None
    points: int | None = None
    seed: int = 1
    assignments: tuple[str, ...] = ()
    sizing: Path | None = None
    sizings: Path | None = None
    tolerances: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    execution: Execution = EXECUTION
    json: bool = False
    quiet: bool = False


def crosscheck_command(project: Project, options: CrosscheckOptions, out: IO[str]) -> ExitCode:
    """Simulate the sizings on both, and print how far each measure is apart.

    Raises DesignError, PluginError, SimulatorMissing.
    """
    outcome = crosscheck(project, options)
    if options.json:
        out.write(json.dumps(outcome_json(outcome), indent=2) + "\n")
    elif not options.quiet:
        out.write(outcome_text(outcome))
    return ExitCode.SPECS_MET if outcome.comparison.agrees else ExitCode.SPECS_NOT_MET


def crosscheck(project: Project, options: CrosscheckOptions) -> Outcome:
    """The comparison behind the command."""
    design = project.design
    names = chosen_simulators(design.simulator.name, options.simulator, options.against)
    sizings = _sizings(project, options)
    given = given_options(names, options.options)
    projects = [on(project, name, given[name]) for name in names]
    whole = [complete(design, sizing) for sizing in sizings]
    rules = with_given(design, rules_of(project, whole[0]), options.tolerances)
    cache = Cache.of_user() if options.execution.cache else None
    try:
        one, other = _both(projects, options, whole, cache)
    finally:
        if cache is not None:
            cache.close()
    outcome = Outcome(design, whole, (one, other), compare(rules, one.results, other.results))
    _check_compared(outcome)
    return outcome


def rules_of(project: Project, sizing: Sizing) -> dict[str, Rule]:
    """The default tolerances of a design; `sizing` is any whole one."""
    design = project.design
    renderer = Renderer(design)
    decks = {
        name: renderer.deck(at_nominal(design, testbench), design.nominal, sizing).text
        for name, testbench in design.testbenches.items()
    }
    return default_rules(design, project.plugins.measures, decks)


def _sizings(project: Project, options: CrosscheckOptions) -> list[Sizing]:
    one = bool(options.assignments or options.sizing)
    ways = {"--sizings": bool(options.sizings), "--set or --sizing": one}
    ways["--points"] = options.points is not None
    given = [way for way, used in ways.items() if used]
    if len(given) > 1:
        raise DesignError([Mistake(f"{' and '.join(given)} exclude each other")])
    if options.sizings is not None:
        return read_sizings(project, options.sizings)
    if one:
        values = given_sizing(project, options.assignments, options.sizing)
        return [{**project.nominal_sizing(), **values}]
    return spread_sizings(project, options.points or POINTS, options.seed)


def _both(
    projects: Sequence[Project],
    options: CrosscheckOptions,
    sizings: Sequence[Sizing],
    cache: Cache | None,
) -> tuple[Side, Side]:
    """Both simulators are looked for before one of them is run."""
    evaluators: list[Evaluator] = []
    for project in projects:
        failed = failed_folder("crosscheck") / project.design.simulator.name
        evaluators.append(project.evaluator(options.execution, keep_failed=failed))
    for evaluator in evaluators:
        evaluator.cache = cache
    say = (lambda _: None) if options.quiet else _say
    if cache is not None and cache.note:
        say(cache.note)
    one, other = (simulated(evaluator, sizings, say) for evaluator in evaluators)
    return one, other


def _check_compared(outcome: Outcome) -> None:
    """Raises DesignError where no sizing gave anything to compare, and so proves nothing."""
    comparison = outcome.comparison
    if comparison.compared or not comparison.agrees:
        return
    first = next(iter(outcome.sides[0].results[0].values()))
    if first.state is not State.COMPLETE:
        kept = failed_folder("crosscheck")
        hint = f"so failed the first sizing in both; decks and logs: {kept}"
        raise unsimulated(outcome.design, first, hint)
    hint = "take other sizings: --set, --sizing, --sizings or another --seed"
    text = f"no measure exists at any of the {comparison.sizings} sizings, so nothing is compared"
    raise DesignError([Mistake(text, outcome.design.path, hint=hint)])


def _say(text: str) -> None:
    sys.stderr.write(f"m3eda: {text}\n")
