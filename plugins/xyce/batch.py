"""Many sizings in one run of Xyce: the holes of a skeleton as parameters, and a `.data` table.

`.step data=` runs an analysis once for each row of the table (Reference Guide, `.STEP`), from the
same beginning. Only gmin and source stepping leave something behind (`spiceStrategy` of
N_NLS_NOX_Interface.C keeps the solver it switched to): of the rows behind one that took them, or
failed, nothing is used. Xyce tells of them in the file of `.options diagnostic`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from m3eda_plugins.ngspice.parameters import HOLE, Parametrised, Token, Unfit
from m3eda_plugins.xyce.deck import Pass, Wanted
from m3eda_plugins.xyce.fit import has_behaviour
from m3eda_plugins.xyce.log import read_log, tail
from m3eda_plugins.xyce.measure import PREFIX
from m3eda_plugins.xyce.names import Source
from m3eda_plugins.xyce.plan import prepare
from m3eda_plugins.xyce.results import Table, noise_totals, read_measures
from m3eda_plugins.xyce.simulator import Gathered, Xyce
from m3eda_plugins.xyce.waves import Incomplete, Outputs, analyses, names_in, outputs

from m3eda.simulate.nearest import not_given
from m3eda.simulate.process import Completed
from m3eda.simulate.types import Analysis, AnalysisKind, Deck, Waveforms
from m3eda.units import parse

Row = tuple[str, ...]
"""Numbers for a skeleton's tokens, as they would stand in the deck."""

_ALL: tuple[AnalysisKind, ...] = ("op", "dc", "ac", "tran", "noise")
_BEGINS: Mapping[AnalysisKind, str] = {"op": "INITIALIZE DC", "dc": "INITIALIZE DC",
                                       "ac": "INITIALIZE AC_IC", "noise": "INITIALIZE NOISE_IC",
                                       "tran": "DC_OP_STARTED"}  # fmt: skip
"""What stands once for a row in the diagnostic file."""
_STEPPING = "STEPPING"
_UNFIT = re.compile(r"^\s*\.options\s+(?:diagnostic\b|nonlin\s.*\bcontinuation\b)", re.IGNORECASE)
_OFF = 1.0 + 2.0**-10
"""Times a value to begin with: where the first row changes nothing, Xyce 7.10 leaves a controlled
source's gain at 0."""
_NEXT_TOTAL = re.compile(r"^(?=Total Output Noise = )", re.MULTILINE)


@dataclass(frozen=True)
class Batch:
    """What a run of several rows gave."""

    results: tuple[Waveforms, ...] = ()
    """Of the rows from the first one on, as far as nothing was left behind."""
    failed: bool = False
    """Whether the row that comes next failed."""
    seconds: float = 0.0
    """Wall time."""
    died: bool = False
    """True where Xyce did not end as it does, so that nothing it gave counts."""


@dataclass
class _Ran:
    """One pass of a batch."""

    completed: Completed
    rows: int
    found: list[Gathered] = field(default_factory=list)
    """Of the rows before the first one that failed."""
    clean: int = 0
    """Rows up to the first one that left something behind."""

    @property
    def died(self) -> bool:
        ended = self.completed
        unclear = bool(ended.returncode) and len(self.found) == self.rows
        return bool(ended.signal) or ended.timed_out or unclear

    @property
    def kept(self) -> int:
        return min(len(self.found), self.clean)

    @property
    def failed(self) -> bool:
        return len(self.found) < min(self.rows, self.clean)


class Stepped:
    """The decks of one skeleton, run as rows of a table."""

    def __init__(self, simulator: Xyce, deck: Deck, netlist: Parametrised, rundir: Path) -> None:
        """`deck` is one of them, that its text can be translated; all files stay in `rundir`.

        Raises Unfit and SimulationFailed.
        """
        self._simulator = simulator
        self._base: list[float] = []
        self._asked = deck.meas
        self._tokens = netlist.tokens
        self._names = [netlist.name(n) for n in range(len(netlist.tokens))]
        self._mark = f"{netlist.prefix}row"
        self._rundir = rundir
        self._base = [parse(text) * _OFF for text in self.row(deck)]
        title, *lines = netlist.netlist([repr(number) for number in self._base])
        text = "\n".join([title, f".param {self._mark}=-1", *lines, ""])
        plain = replace(deck, text=text, skeleton=None, fills=())
        self._passes = prepare(plain, simulator.options, rundir)
        if any(_UNFIT.search(line) for one in self._passes for line in one.body):
            raise Unfit("its options change how operating points are found, or told of")
        if any(has_behaviour(one.text) for one in self._passes):
            raise Unfit("in Xyce's words it has an expression of voltages or currents")

    def row(self, deck: Deck) -> Row:
        """The numbers of a deck. Raises Unfit where it must run by itself."""
        row = tuple(_number(token, deck.fills) for token in self._tokens)
        if any(parse(text) == number for text, number in zip(row, self._base, strict=False)):
            raise Unfit("it has a value that parameters begin with")
        return row

    def run(self, decks: Sequence[Deck], patience: float) -> Batch:
        """Run `decks`, one a row; each pass may take `patience` seconds.

        Raises SimulatorMissing, and Unfit where one of the decks must run by itself.
        """
        rows = [self.row(deck) for deck in decks]
        given = [Gathered() for _ in rows]
        seconds, failed = 0.0, False
        for one in self._passes:
            ran = self._pass(one, rows[: len(given)], patience)
            seconds += ran.completed.seconds
            if ran.died:
                return Batch(seconds=seconds, died=True)
            if ran.kept < len(given):
                failed = ran.failed
                del given[ran.kept :]
            for into, more in zip(given, ran.found, strict=False):
                _add(into, more)
            if not given:
                break
        whole = tuple(_whole(given, decks))
        return Batch(whole, failed or len(whole) < len(given), seconds)

    def _pass(self, one: Pass, rows: Sequence[Row], patience: float) -> _Ran:
        """Run a pass, and read its rows until one failed."""
        stepped = self._stepped(one, rows)
        (self._rundir / stepped.deck_file).write_text(stepped.text, "utf-8", newline="\n")
        try:
            completed = self._simulator.process(
                stepped.deck_file, stepped.log_file, self._rundir, patience
            )
            log = read_log(self._rundir / stepped.log_file)
            said = tail(log, completed.stdout, completed.stderr)
            ran = _Ran(completed, len(rows), clean=self._clean(stepped))
            for each in self._read(one, stepped, len(rows)):
                each.seconds = completed.seconds / len(rows)
                each.cpu_seconds = completed.cpu_seconds / len(rows)
                each.log = said
                ran.found.append(each)
            return ran
        finally:
            for path in self._rundir.glob(f"{stepped.stem}.*"):
                path.unlink()

    def _clean(self, stepped: Pass) -> int:
        """Rows up to the first one whose operating point was not found at once; 0 where Xyce does
        not tell."""
        try:
            said = (self._rundir / _diagnostic(stepped)).read_text("utf-8", errors="replace")
        except OSError:
            return 0
        before, stepping, _ = said.partition(_STEPPING)
        begun = before.count(_BEGINS[stepped.kind])
        return begun if stepping else sys.maxsize

    def _stepped(self, one: Pass, rows: Sequence[Row]) -> Pass:
        """The pass over `rows`, each marked by its number in all tables."""
        stepped = replace(one, stem=f"{one.stem}_rows")
        lines = [f".data {self._mark}s {self._mark} {' '.join(self._names)}"]
        lines += [f"+ {number} {' '.join(row)}" for number, row in enumerate(rows)]
        lines += [
            ".enddata",
            f".step data={self._mark}s",
            f".options diagnostic diagfilename={_diagnostic(stepped)}",
        ]
        return replace(
            stepped,
            body=(*one.body, *lines),
            wanted=self._marked(one.wanted),
            beside=None if one.beside is None else self._marked(one.beside),
        )

    def _marked(self, wanted: Wanted) -> Wanted:
        mark = (self._mark, Source((self._mark,), _ALL))
        return replace(wanted, sources=(mark, *wanted.sources))

    def _read(self, one: Pass, stepped: Pass, rows: int) -> Iterator[Gathered]:
        """What each row gave, until one gave not all that it had to."""
        try:
            tables = outputs(stepped, self._rundir)
            totals = self._totals(stepped)
            for number in range(rows):
                given = Outputs(
                    self._block(tables.main, number),
                    None if tables.beside is None else self._block(tables.beside, number),
                )
                found = analyses(stepped, given, totals[number] if number < len(totals) else {})
                known = names_in(given) if one.wanted.prints else set()
                meas = self._meas(one, stepped, number)
                yield Gathered([*self._unmarked(found)], known, meas)
        except Incomplete:
            return

    def _block(self, table: Table, number: int) -> Table:
        """The part of a table that is of one row."""
        names = (self._mark, f"re({self._mark})")
        column = next((i for i, name in enumerate(table.names) if name in names), None)
        if column is None:
            raise Incomplete("rows are not marked")
        chosen = table.data[:, column] == number
        return Table(table.names, table.data[chosen], table.cut and bool(chosen[-1:].all()))

    def _unmarked(self, found: Sequence[Analysis]) -> Iterator[Analysis]:
        for each in found:
            vectors = {name: v for name, v in each.vectors.items() if name != self._mark}
            if vectors.keys() - {each.scale}:
                yield replace(each, vectors=vectors)

    def _totals(self, stepped: Pass) -> list[Mapping[str, float]]:
        """Integrated noise of every row."""
        if not stepped.totals:
            return []
        try:
            log = (self._rundir / stepped.log_file).read_text("utf-8", errors="replace")
        except OSError:
            return []
        return [noise_totals(part) for part in _NEXT_TOTAL.split(log)[1:]]

    def _meas(self, one: Pass, stepped: Pass, number: int) -> dict[str, float]:
        """The `.measure` results of a row. Raises Incomplete where there is no file of them."""
        if not one.meas:
            return {}
        path = self._rundir / f"{stepped.measure_file[:-1]}{number}"
        if not path.is_file():
            raise Incomplete("no measures")
        asked = [name for name in self._asked if name.lower() in one.meas]
        text = path.read_text("utf-8", errors="replace")
        found: dict[str, float] = read_measures(text, asked, PREFIX)
        return found


def _diagnostic(stepped: Pass) -> str:
    return f"{stepped.deck_file}.diag"


def _number(token: Token, fills: Sequence[str]) -> str:
    """The token's text with its holes filled. Raises Unfit."""
    token.value(fills)
    text: str = HOLE.sub(lambda match: fills[int(match[1])], token.text)
    if parse(text) == 0.0:
        raise Unfit("a value of 0 may leave something out of the circuit")
    return text


def _add(into: Gathered, more: Gathered) -> None:
    into.analyses += more.analyses
    into.known |= more.known
    into.meas.update(more.meas)
    into.seconds += more.seconds
    into.cpu_seconds += more.cpu_seconds
    into.log = more.log


def _whole(given: Sequence[Gathered], decks: Sequence[Deck]) -> Iterator[Waveforms]:
    """The results of `decks` from the first on, until one does not give all it was asked for."""
    for each, deck in zip(given, decks, strict=False):
        if not_given(deck, each.analyses, each.known):
            return
        yield Waveforms(tuple(each.analyses), each.meas, each.seconds, each.log, each.cpu_seconds)
