"""What `m3eda size` and `m3eda report` do, behind the thin functions of `cli`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from m3eda.design.types import Design
from m3eda.errors import DesignError, ExitCode, Mistake, StorageError
from m3eda.flow import EXECUTION, FAILED, Execution, Prepared, Project, prepare
from m3eda.ledger import Ledger
from m3eda.loop import Command, End
from m3eda.places import run_directory
from m3eda.report.atomic import check_writable, silence
from m3eda.report.depfile import write_depfile
from m3eda.report.package import Written, write_outputs
from m3eda.report.screen import is_terminal
from m3eda.report.summary import Summary, Tally, summarize
from m3eda.report.terminal import Display, DisplayKind, make_display
from m3eda.simulate.failures import SystematicFailure
from m3eda.simulate.trial import Trial


@dataclass(frozen=True)
class SizeOptions:
    """The options of `m3eda size`."""

    output: Path | None = None
    run_dir: Path | None = None
    execution: Execution = EXECUTION
    resume: bool = False
    fresh: bool = False
    keep_best: bool = False
    json: bool = False
    stream: bool = False
    quiet: bool = False
    verbose: bool = False
    explain: bool = False
    depfile: Path | None = None

    @property
    def display(self) -> DisplayKind:
        if self.quiet:
            return "quiet"
        return "json" if self.json or self.stream else "auto"


def size_command(project: Project, options: SizeOptions) -> ExitCode:
    """Size a design, write what comes out, and say how it went."""
    run_dir = options.run_dir or run_directory(project.design)
    prepared = prepare(
        project,
        run_dir,
        execution=options.execution,
        resume=options.resume,
        fresh=options.fresh,
    )
    try:
        _check_outputs(prepared, options)
        if options.depfile is not None:
            _write_depfile(prepared, run_dir, options)
        display = make_display(options.display)
        with display:
            summary = _drive(prepared, display, options)
            written = _write(prepared, summary, run_dir, options)
            with _perhaps_unread():
                display.finish(summary, written)
                if options.display == "auto" and is_terminal(sys.stderr):
                    _advise(prepared, summary, display, options)
    except SystematicFailure as failure:
        raise failure.located(prepared.run.design, run_dir / FAILED) from failure
    finally:
        prepared.close()
    with _perhaps_unread():
        if options.verbose and not options.quiet:
            from m3eda.report.timing import timing_lines

            sys.stderr.write("\n".join([*timing_lines(summary), ""]))
        if options.json or options.stream:
            _print_summary(summary, written, lines=options.stream)
        if summary.ending is End.INTERRUPTED and not options.quiet:
            _say("interrupted; run the same command again to go on where it stopped")
    return exit_code(summary)


def _advise(prepared: Prepared, summary: Summary, display: Display, options: SizeOptions) -> None:
    from m3eda.advice import advice

    if line := advice(prepared, summary, options.execution.jobs):
        display.note(line)


@contextlib.contextmanager
def _perhaps_unread() -> Iterator[None]:
    """Where the reader of the output has gone, the result stands in the files all the same."""
    try:
        yield
    except BrokenPipeError:
        silence(sys.stdout)
        silence(sys.stderr)


def _check_outputs(prepared: Prepared, options: SizeOptions) -> None:
    """Before anything is simulated: can the outputs be written, and is none of them an input?"""
    inputs = {os.path.realpath(path) for path in [*prepared.files, prepared.ledger.path]}
    for option, path in (("-o", options.output), ("--depfile", options.depfile)):
        if path is None:
            continue
        if os.path.realpath(path) in inputs:
            text = f"{option} {path}: would overwrite a file that the run reads"
            raise DesignError([Mistake(text, hint="name another file")])
        inputs.add(os.path.realpath(path))
        check_writable(path)


def exit_code(summary: Summary) -> ExitCode:
    if summary.ending is End.INTERRUPTED:
        return ExitCode.INTERRUPTED
    return ExitCode.SPECS_MET if summary.met else ExitCode.SPECS_NOT_MET


def _drive(prepared: Prepared, display: Display, options: SizeOptions) -> Summary:
    """Run to the end, or to an interruption, feeding the screen and the stream."""
    from m3eda.loop import size

    run, design = prepared.run, prepared.run.design
    for note in prepared.notes:
        display.note(note)
    started = time.monotonic()
    tally = Tally(design.objective)
    run.note = display.note
    display.start(design, design.agent.budget)
    trials = size(run)
    ending = End.INTERRUPTED
    stops = contextlib.suppress(KeyboardInterrupt, BrokenPipeError)
    with stops, contextlib.closing(trials):
        ending = _consume(trials, lambda trial: _heard(trial, prepared, tally, display, options))
    if run.evaluator.note:
        display.note(run.evaluator.note)
    return prepared.summary(time.monotonic() - started, ending)


def _consume(trials: Generator[Trial, Command | None, End], heard: Callable[[Trial], None]) -> End:
    while True:
        try:
            trial = next(trials)
        except StopIteration as stop:
            ending: End = stop.value
            return ending
        heard(trial)


def _heard(
    trial: Trial, prepared: Prepared, tally: Tally, display: Display, options: SizeOptions
) -> None:
    replayed = len(prepared.run.trials) <= prepared.run.replayed
    tally.add(trial, replayed=replayed)
    display.update(trial, tally.best, replayed=replayed)
    for line in prepared.project.plugins.trial_finished(prepared.run.design, trial):
        display.note(line)
    if options.explain:
        from m3eda.report.foretold import foretold_lines

        for line in foretold_lines(prepared.run.design, trial, prepared.run.foretold(trial.sizing)):
            display.note(line)
    if options.stream:
        from m3eda.report.text import trial_json

        prepared.ledger.write()  # a reader must not know of what is not stored
        _out(json.dumps(trial_json(trial)))


def _write(prepared: Prepared, summary: Summary, run_dir: Path, options: SizeOptions) -> Written:
    """Write the outputs of the best sizing so far."""
    if summary.best is None:
        return write_outputs(run_dir, summary, {}, "")
    evaluator = prepared.run.evaluator
    decks = {name: deck.text for name, deck in evaluator.decks(summary.best.sizing).items()}
    netlist = evaluator.renderer.netlist(summary.best.sizing)
    return write_outputs(
        run_dir, summary, decks, netlist, output=options.output, keep_best=options.keep_best
    )


def _write_depfile(prepared: Prepared, run_dir: Path, options: SizeOptions) -> None:
    assert options.depfile is not None
    targets = [options.output or run_dir / "sizing.json"]
    write_depfile(options.depfile, targets, prepared.files, Path.cwd())


def _print_summary(summary: Summary, written: Written, *, lines: bool) -> None:
    from m3eda.report.text import summary_json

    data = {**summary_json(summary), "paths": [str(path) for path in written.paths]}
    _out(json.dumps(data, indent=None if lines else 2))


def report_command(run_dir: Path, form: str, out: IO[str]) -> ExitCode:
    """Print the report of the last recipe of a run directory again, from its ledger."""
    from m3eda.report.text import render_report

    summary = stored_summary(run_dir)
    text = render_report(summary, form)  # type: ignore[arg-type]
    out.write(text.rstrip("\n") + "\n")
    return exit_code(summary)


def stored_summary(run_dir: Path) -> Summary:
    """The summary of the last recipe in a run directory. Raises StorageError."""
    from m3eda.design.snapshot import restore
    from m3eda.simulate.trial import score

    folder = run_dir if run_dir.is_dir() else run_dir.parent
    with Ledger(folder, read_only=True) as ledger:
        segments = ledger.segments()
        if not segments:
            raise StorageError(f"{folder}: the ledger holds no run")
        last = segments[-1]
        design = restore(last.design)
        trials = [
            score(t.number, t.sizing, t.results, design.specs, design.required)
            for t in ledger.trials(last.id)
        ]
    hashed = _stored_hash(folder, design)
    return summarize(
        design,
        trials,
        agent=last.agent,
        seed=last.seed,
        simulator=last.simulator.partition(" ")[2],
        design_hash=hashed,
    )


def _stored_hash(folder: Path, design: Design) -> str:
    """The design's hash as the run printed it; empty where it has not written its outputs."""
    try:
        data: Mapping[str, Any] = json.loads((folder / "sizing.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(data.get("design_hash", "")) if data.get("design") == design.name else ""


def _out(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"m3eda: {text}\n")
