"""Tables and results drawn with rich, imported where it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from m3eda.report.objective import objective_lines
from m3eda.report.summary import Summary
from m3eda.report.tables import SpecRow, Table, ascii_safe
from m3eda.report.text import headline, run_lines, tables, text_report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from m3eda.report.package import Written


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def is_fancy(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """True where colour and cursor movement are welcome."""
    if environ.get("NO_COLOR") or environ.get("TERM", "") in ("", "dumb", "unknown"):
        return False
    return is_terminal(stream)


def emit(stream: TextIO, text: str) -> None:
    """Write `text` whatever the stream's encoding: signs that it lacks are escaped."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def make_console(stream: TextIO, environ: Mapping[str, str]) -> Console:
    """A rich console that never guesses: colour as `is_fancy` has it, nothing highlighted."""
    from rich.console import Console

    fancy = is_fancy(stream, environ)
    return Console(
        file=stream,
        force_terminal=fancy,
        no_color=not fancy,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def print_result(
    summary: Summary, written: Written | None, out: TextIO, environ: Mapping[str, str]
) -> None:
    """The spec table, the sizing, the counts and the files written, to `out`."""
    if is_fancy(out, environ):
        _print_rich(summary, make_console(out, environ))
    else:
        emit(out, text_report(summary))
    for path in written.paths if written else ():
        word = "wrote" if written and path in written.changed else "unchanged"
        emit(out, f"{word} {path}\n")


def _print_rich(summary: Summary, console: Console) -> None:
    ascii_only = console.options.ascii_only
    console.print(text_cell(headline(summary), ascii_only, "green" if summary.met else "bold red"))
    for table in tables(summary):
        console.print()
        console.print(rich_table(table, ascii_only))
    console.print()
    for line in [*objective_lines(summary), *run_lines(summary)]:
        console.print(text_cell(line, ascii_only))


def rich_table(table: Table, ascii_only: bool) -> RichTable:
    rich = _empty_table()
    for header in table.headers:
        right = header in table.right
        rich.add_column(header, justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        rich.add_row(*(text_cell(cell, ascii_only, _style(cell)) for cell in row))
    return rich


def live_table(rows: Sequence[SpecRow], ascii_only: bool) -> RichTable:
    """One line a spec, however narrow the screen."""
    rich = _empty_table()
    for header, right in (("spec", 0), ("wanted", 0), ("measured", 1), ("margin", 1), ("met", 0)):
        # on a narrow screen the column that does not change gives way
        rich.add_column(
            header,
            justify="right" if right else "left",
            no_wrap=header != "wanted",
            overflow="crop",
        )
    for row in rows:
        cells = (row.name, row.wanted, row.measured, row.margin, row.mark)
        rich.add_row(*(text_cell(cell, ascii_only, _style(cell), cut=True) for cell in cells))
    return rich


def _empty_table() -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    return RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def text_cell(text: str, ascii_only: bool, style: str = "", *, cut: bool = False) -> Text:
    """Text that is folded where it is too wide, or `cut` to one line."""
    from rich.text import Text

    safe = ascii_safe(text) if ascii_only else text
    # not rich's default, an ellipsis: it is no ASCII sign
    return Text(safe, style=style, no_wrap=cut, overflow="crop" if cut else "fold")


def _style(cell: str) -> str:
    return {"yes": "green", "NO": "bold red"}.get(cell, "")


def fitting(rows: list[SpecRow], room: int) -> tuple[list[SpecRow], int]:
    """As many rows as the screen is high, those not met first, and how many are left out."""
    room = max(room, 3)
    if len(rows) <= room:
        return rows, 0
    chosen = sorted(range(len(rows)), key=lambda i: (rows[i].met is True, i))[:room]
    return [rows[i] for i in sorted(chosen)], len(rows) - room
