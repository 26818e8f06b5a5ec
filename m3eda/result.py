"""What a run gave, for Python scripts: its best trial, all trials, and the files of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3eda.design.types import Design, Sizing
from m3eda.loop import End
from m3eda.objective.front import Front
from m3eda.report.package import Written, write_outputs
from m3eda.report.summary import Summary
from m3eda.report.text import ReportFormat, render_report, sizing_json
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.trial import Trial


@dataclass(frozen=True)
class Result:
    """What a run gave. `print(result)` prints the report of the command line."""

    summary: Summary
    trials: tuple[Trial, ...]
    """Every trial, in order."""
    _evaluator: Evaluator = field(repr=False)

    @property
    def design(self) -> Design:
        return self.summary.design

    @property
    def met(self) -> bool:
        """True where the best trial meets every spec."""
        return self.summary.met

    @property
    def best(self) -> Trial | None:
        """The trial whose sizing is handed over; None where nothing was simulated."""
        return self.summary.best

    @property
    def sizing(self) -> Sizing:
        """The best trial's value of every parameter, frozen and tied ones too, in SI units."""
        return {} if self.best is None else self.best.sizing

    @property
    def measures(self) -> Mapping[str, float]:
        """The best trial's measures at nominal conditions in SI units; nan where undefined."""
        return {} if self.best is None else self.best.measures

    @property
    def margins(self) -> Mapping[str, float]:
        """The best trial's margin of each spec: 0 is met exactly, below 0 is missed."""
        return {} if self.best is None else self.best.margins

    @property
    def pareto(self) -> list[Trial]:
        """Trials that meet every spec and that none beats in all of the objective's measures,
        the best in the first measure first; empty without an objective."""
        return Front(self.design.objective, self.trials).trials

    @property
    def ending(self) -> End | None:
        """Why the run ended; None where it was left early."""
        return self.summary.ending

    def netlist(self) -> str:
        """The sized netlist: the design's `netlist`, else the first testbench's deck."""
        return "" if self.best is None else self._evaluator.renderer.netlist(self.best.sizing)

    def write(
        self, folder: str | Path, *, output: str | Path | None = None, keep_best: bool = False
    ) -> Written:
        """Write into `folder` what the command line leaves in its run directory, and the sized
        netlist to `output` where the specs are met or `keep_best` is set. Raises StorageError."""
        decks: dict[str, str] = {}
        if self.best is not None:
            made = self._evaluator.decks(self.best.sizing)
            decks = {name: deck.text for name, deck in made.items()}
        place = None if output is None else Path(output).expanduser()
        return write_outputs(
            Path(folder).expanduser(), self.summary, decks, self.netlist(),
            output=place, keep_best=keep_best,
        )  # fmt: skip

    def report(self, format: ReportFormat = "text") -> str:
        """The report as `text`, `markdown` or `json`."""
        return render_report(self.summary, format)

    def to_dict(self) -> dict[str, Any]:
        """What `sizing.json` holds, as data."""
        return sizing_json(self.summary)

    def __str__(self) -> str:
        return self.report().rstrip("\n")

    def __repr__(self) -> str:
        words = "met" if self.met else "not met"
        return f"<Result {self.design.name}: specs {words}, {len(self.trials)} trials>"
