"""What `m3eda check`, `m3eda render` and a dry run do: one point, looked at."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from m3eda.crosscheck.comparison import Comparison, compare
from m3eda.crosscheck.tables import finite
from m3eda.crosscheck.tolerances import Rule, Tolerance
from m3eda.design.types import Design, Sizing, Value
from m3eda.design.variation import check_variation
from m3eda.errors import DesignError, ExitCode, Mistake, SimulatorBroken
from m3eda.flow import Execution, Project
from m3eda.pvt.samples import samples_of
from m3eda.simulate.failures import exit_code_of, explain, kept_name
from m3eda.simulate.trial import CornerResult


def dry_run(project: Project, out: IO[str]) -> None:
    """Print every deck of the first point, and what the run would cost; simulates nothing."""
    design = project.design
    render_command(project, out, project.nominal_sizing(), None)
    runs = sum(len(testbench.at_points()) for testbench in design.testbenches.values())
    corners = len(design.required)
    print_line(
        out,
        f"* dry run: up to {design.agent.budget} sizings x {runs} "
        f"simulation{'s' if runs > 1 else ''} x {corners} corner{'s' if corners > 1 else ''} = "
        f"{design.agent.budget * runs * corners} "
        f"runs of {design.simulator.name}, agent {design.agent.name}, seed {design.agent.seed}",
    )


def render_command(
    project: Project,
    out: IO[str],
    sizing: Sizing,
    testbench: str | None,
    sample: int | None = None,
) -> None:
    """Print the decks of `sizing`, each below a comment that names its testbench; with `sample`
    those of that Monte Carlo sample."""
    from m3eda.design.ties import complete
    from m3eda.simulate.render import Renderer

    design = project.design
    renderer = Renderer(design)
    chosen = [testbench] if testbench else list(design.testbenches)
    whole = complete(design, {**project.nominal_sizing(), **sizing})
    unknown = next((name for name in chosen if name not in design.testbenches), None)
    if unknown is not None:
        known = f"known: {', '.join(design.testbenches)}"
        text = f"no testbench is called '{unknown}'"
        raise DesignError([Mistake(text, design.path, hint=known)])
    corner = design.nominal
    if sample is not None:
        check_variation(design)
        corner = samples_of(design, renderer.deviations(whole)).at(sample, corner)
    every = [at for name in chosen for at in design.testbenches[name].at_points()]
    for each in every:
        deck = renderer.deck(each, corner, whole)
        if len(every) > 1:
            print_line(out, f"* ---- testbench {each.label} ----")
        print_line(out, deck.text.rstrip("\n"))


def given_sizing(project: Project, assignments: tuple[str, ...], file: Path | None) -> Sizing:
    """The values of `--set name=value` over those of a sizing.json."""
    from m3eda.units import parse

    values: dict[str, Value] = {}
    if file is not None:
        values.update(_sizing_of(project, file))
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in project.design.parameters:
            known = ", ".join(project.design.parameters)
            raise DesignError(
                [
                    Mistake(
                        f"--set {assignment}: no parameter is called '{name}'"
                        if equals
                        else f"--set {assignment}: expected name=value",
                        hint=f"parameters: {known}",
                    )
                ]
            )
        parameter = project.design.parameters[name]
        if not parameter.free:
            how = "frozen" if parameter.frozen else f"tied to {parameter.expression}"
            raise DesignError(
                [Mistake(f"--set {assignment}: '{name}' is {how}", hint="set a free parameter")]
            )
        words = any(isinstance(choice, str) for choice in parameter.choices)
        try:
            values[name] = text if words else parse(text)
        except ValueError as error:
            hint = getattr(error, "hint", "")
            raise DesignError([Mistake(f"--set {assignment}: {error}", hint=hint)]) from error
    return {name: value for name, value in values.items() if name in project.design.parameters}


def _sizing_of(project: Project, file: Path) -> dict[str, Value]:
    try:
        values = dict(json.loads(file.read_text(encoding="utf-8"))["sizing"])
    except OSError as error:
        raise DesignError([Mistake(f"cannot be read: {error.strerror}", file)]) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DesignError([Mistake("is no sizing.json of m3eda", file)]) from error
    for name, parameter in project.design.parameters.items():
        words = any(isinstance(choice, str) for choice in parameter.choices)
        value = values.get(name, "" if words else 0.0)
        if isinstance(value, str) is not words or not isinstance(value, (str, int, float)):
            right = f"one of {', '.join(map(str, parameter.choices))}" if words else "a number"
            raise DesignError([Mistake(f"is {value!r}", file, key=f"sizing.{name}", hint=right)])
    return values


def check_command(project: Project, out: IO[str], *, as_json: bool, sizing: Sizing) -> ExitCode:
    """Run one point and print what each measure gave, with the reason where it gave nothing."""
    evaluator = project.evaluator(keep_failed=failed_folder())
    whole = evaluator.complete({**project.nominal_sizing(), **sizing})
    result = next(evaluator.evaluate([whole]))[project.design.nominal.name]
    if as_json:
        from m3eda.simulate.encoding import encode_result

        print_line(out, json.dumps({"sizing": dict(whole), **encode_result(result)}, indent=2))
    else:
        from m3eda.report.tables import measure_table, parameter_table, plain_text
        from m3eda.simulate.trial import score

        trial = score(0, whole, {project.design.nominal.name: result}, project.design.specs)
        design = project.design
        print_line(out, f"{design.name}: one point on {evaluator.version}, {result.runs} runs")
        print_line(out, "")
        print_line(out, plain_text(parameter_table(design, trial)))
        print_line(out, plain_text(measure_table(design, trial)))
    _check_complete(project, result)
    return ExitCode.SPECS_MET


def failed_folder(command: str = "check") -> Path:
    """Where the decks of a point that fails are kept."""
    return Path(tempfile.gettempdir()) / f"m3eda-{command}-{os.getpid()}"


def _check_complete(project: Project, result: CornerResult) -> None:
    """Raises DesignError where the point could not be simulated."""
    if not result.reason:
        return
    kept = failed_folder() / kept_name(result.reason.partition(": ")[0], result.state)
    hint = f"the deck and its log: {kept}" if kept.is_dir() else ""
    raise unsimulated(project.design, result, hint)


def unsimulated(design: Design, result: CornerResult, hint: str) -> DesignError:
    """The error for a point that failed, at the place in the file that is at fault."""
    error = DesignError(explain(design, result.state, result.reason, hint))
    error.exit_code = exit_code_of(result.state)
    return error


WAYS = {"plain": None, "strict": Execution(strict=True), "default": Execution()}
"""Ways to simulate; the first is the referee: a simulator process of its own for each run."""

AGREEMENT = {"strict": Tolerance(1e-9, 1e-12), "default": Tolerance(1e-5, 1e-9)}
"""How far a measure may be from the referee's. Waveforms agree to 1e-12 and 1e-7; a measure, such
as the offset of a balanced pair, may enlarge what is left."""


def compare_command(project: Project, out: IO[str], *, as_json: bool, sizing: Sizing) -> ExitCode:
    """Simulate one point in every way there is, and print how far each is from a fresh process.

    Raises SimulatorBroken where a way differs by more than it may, DesignError where the point
    fails in all of them.
    """
    found = {way: _one_point(project, execution, sizing) for way, execution in WAYS.items()}
    referee = found["plain"]
    compared = {
        way: compare(
            dict.fromkeys(referee.measures, Rule(tolerance)), [{way: found[way]}], [{way: referee}]
        )
        for way, tolerance in AGREEMENT.items()
    }
    if as_json:
        _print_json(out, referee, compared)
    else:
        print_line(out, f"{'measure':<16}{'fresh process':>16}{'strict':>12}{'default':>12}")
        for index, (name, value) in enumerate(referee.measures.items()):
            cells = "".join(f"{each.rows[index].relative:>12.1e}" for each in compared.values())
            print_line(out, f"{name:<16}{value:>16.9g}{cells}")
    for way, comparison in compared.items():
        if comparison.failures:
            text = f"the way '{way}' ends with {found[way].state.value}: {found[way].reason}"
            raise SimulatorBroken(f"{text}; a fresh process with {referee.state.value}")
        worst = max(comparison.rows, key=lambda row: row.share, default=None)
        if worst is not None and not worst.agrees:
            most = AGREEMENT[way].relative
            text = f"differs by {worst.relative:.1e} in the way '{way}' (at most {most:g} is right)"
            raise SimulatorBroken(
                f"{worst.measure} {text}; size with --cold, and please report this"
            )
    _check_complete(project, referee)
    return ExitCode.SPECS_MET


def _print_json(out: IO[str], referee: CornerResult, compared: Mapping[str, Comparison]) -> None:
    differences = {
        way: {row.measure: finite(row.relative) for row in each.rows}
        for way, each in compared.items()
    }
    values = {name: finite(value) for name, value in referee.measures.items()}
    print_line(out, json.dumps({"referee": values, "differences": differences}, indent=2))


def _one_point(project: Project, execution: Execution | None, sizing: Sizing) -> CornerResult:
    evaluator = project.evaluator(execution, keep_failed=failed_folder())
    with contextlib.closing(evaluator):
        whole = evaluator.complete({**project.nominal_sizing(), **sizing})
        with contextlib.closing(evaluator.evaluate([whole])) as results:
            return next(results)[project.design.nominal.name]


def print_line(out: IO[str], text: str) -> None:
    out.write(f"{text}\n")
