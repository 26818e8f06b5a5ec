"""Why a run of Xyce failed, in one line, from its log and what it printed.

A failed operating point leaves the standard error empty and the closing banner in place, so only
words of the log tell. Messages are wrapped at 78 columns, a blank before each further line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from m3eda.simulate.cards import Card, cards
from m3eda.simulate.types import State

_LARGEST = 4 << 20  # bytes of a log that are read, half from each end
_TAIL = 2000
_ERROR = re.compile(
    r"(?:Netlist|Application|Device|Simulation)? ?error"
    r"(?: in file (?P<file>.+?) at or near line (?P<line>\d+)|:)\s*(?P<text>.*)",
    re.IGNORECASE | re.DOTALL,
)
_STATISTICS = re.compile(r"^(?:Timing summary of|\*{5} Total Simulation)", re.MULTILINE)
_UNDEFINED = re.compile(
    r"undefined symbols? in \.PRINT command: (?P<list>.+)"
    r"|(?:Function or variable|variable) (?P<one>\S+) (?:is not defined|not found)",
    re.IGNORECASE,
)
_UNRECOGNIZED = re.compile(r"Unrecognized parameter (\S+) for device (\S+)", re.IGNORECASE)
_MODEL = re.compile(
    r"no valid model card|(?:could not|cannot|can't) (?:find|open) (?:the )?(?:include|\.?lib)"
    r"|has not been defined for instance|model not found|find (?:required |mutual inductor )?model"
    r"|no device \S+ of level|does not have level|no model found|must reference a model"
    r"|model type .* not valid|\.ENDL",
    re.IGNORECASE,
)
_OPERATING_POINT = re.compile(
    r"DC operating point failed|Failed DC sweep steps|Failed to (?:find|converge)", re.IGNORECASE
)
_SINGULAR = re.compile(r"numerically singular matrix", re.IGNORECASE)
_SMALL_STEP = re.compile(
    r"time step too small|step size reached minimum|Exiting transient loop", re.IGNORECASE
)
_MEMORY = re.compile(
    r"bad_alloc|out of (?:dynamic )?memory|cannot allocate memory|failed to map segment",
    re.IGNORECASE,
)
_KILLED = re.compile(r"exited on signal (\d+)", re.IGNORECASE)
_SINGULAR_HINT = (
    "the matrix is singular: a loop of voltage sources, or a part without a path to ground"
)


@dataclass(frozen=True)
class Message:
    """An error that Xyce reports."""

    text: str
    """On one line."""
    file: str = ""
    line: int = 0
    """1-based; 0 where it is told of no line."""


def messages(log: str) -> Iterator[Message]:
    """The errors in what Xyce wrote, in order, each joined to one line."""
    lines = log.splitlines()
    for index, first in enumerate(lines):
        if not re.match(r"(?:\w+ )?error(?: in file|:)", first, re.IGNORECASE):
            continue
        more = index + 1
        while more < len(lines) and lines[more][:1] in (" ", "\t"):
            more += 1
        match = _ERROR.match(" ".join(" ".join(lines[index:more]).split()))
        if match is not None:
            text = match["text"].strip().rstrip(".")
            yield Message(text, match["file"] or "", int(match["line"] or 0))


def undefined(log: str) -> tuple[str, ...]:
    """What was to be printed and is not there, spelt as it is printed."""
    found: dict[str, None] = {}
    for message in messages(log):
        for match in _UNDEFINED.finditer(message.text):
            for name in (match["list"] or match["one"]).lower().split(", "):
                found[_printed(name)] = None
    return tuple(found)


def _printed(told: str) -> str:
    """`node out` is v(out), `device r1` is i(r1), and `device m1{d}` is id(m1)."""
    kind, _, name = told.strip().rpartition(" ")
    device, _, lead = name.rstrip("}").partition("{")
    return {"node": f"v({name})", "device": f"i{lead}({device})"}.get(kind, name)


def diagnose(
    log: str, printed: str, deck_text: str, deck_file: str = ""
) -> tuple[State, str] | None:
    """State and one-line reason of a run that did not give its results, None where none is said.

    `printed` is what did not go to the log, standard error last; lines of `deck_file` are those
    of `deck_text`.
    """
    said = f"{log}\n{printed}"
    told = [_located(message, deck_text, deck_file) for message in messages(said)]
    if any(state is State.NO_CONVERGENCE for state, _ in told) or not told:
        return _unsolved(said) or (told[0] if told else _launcher(printed))
    return told[0]


def read_log(path: Path) -> str:
    """The log, its middle left out where it is very long; empty where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST // 2)
            size = path.stat().st_size
            if size > _LARGEST:
                file.seek(size - _LARGEST // 2)
            content += file.read(_LARGEST // 2)
    except OSError:
        return ""
    return content.decode("utf-8", errors="replace")


def tail(log: str, stdout: str, stderr: str) -> str:
    """About 2 kB of what was said last, the errors behind it, without tables of times."""
    statistics = _STATISTICS.search(log)
    said = f"{stdout.strip()}\n{log[: statistics.start()] if statistics else log}"
    errors = stderr.strip()[-_TAIL // 2 :]
    return f"{said.strip()[-(_TAIL - len(errors)) :]}\n{errors}".strip()


def _located(message: Message, deck_text: str, deck_file: str) -> tuple[State, str]:
    if _OPERATING_POINT.search(message.text):
        return State.NO_CONVERGENCE, message.text
    card = _card_at(message, deck_text, deck_file)
    text = message.text
    state = State.MODEL_MISSING if _MODEL.search(text) else State.PARSE_ERROR
    if _UNDEFINED.search(text):
        state, card = State.VECTOR_MISSING, None  # the line is one that m3eda wrote
    elif (match := _UNRECOGNIZED.search(text)) and card and _is_bare(card, match[1]):
        # Xyce looks for the model among the words, and takes the rest for parameters
        state = State.MODEL_MISSING
        text = f"the model of {match[2].lower()} is not there, or is of a level Xyce lacks"
    if card is not None:
        return state, f"line {card.first + 1}: {text}: {' '.join(card.text.split())[:120]}"
    if message.file and Path(message.file).name != deck_file:
        return state, f"{Path(message.file).name} line {message.line}: {text}"
    return state, text


def _card_at(message: Message, deck_text: str, deck_file: str) -> Card | None:
    if not message.line or (message.file and Path(message.file).name != deck_file):
        return None
    at = message.line - 1
    return next((card for card in cards(deck_text) if card.first <= at <= card.last), None)


def _is_bare(card: Card, word: str) -> bool:
    before = re.split(r"\s\w+\s*=", card.text, maxsplit=1)[0]
    return word.lower() in before.lower().split()


def _unsolved(log: str) -> tuple[State, str] | None:
    """Where the equations were not solved, or the program ended before it could say why."""
    if _MEMORY.search(log):
        return State.CRASH, "Xyce ran out of memory"
    if match := _KILLED.search(log):
        return State.CRASH, f"Xyce was ended by signal {match[1]}"
    singular = _SINGULAR_HINT if _SINGULAR.search(log) else ""
    if _OPERATING_POINT.search(log):
        return State.NO_CONVERGENCE, f"no operating point: {singular or 'Newton did not converge'}"
    if _SMALL_STEP.search(log):
        return State.NO_CONVERGENCE, "time step too small"
    return (State.NO_CONVERGENCE, singular) if singular else None


def _launcher(printed: str) -> tuple[State, str] | None:
    """What mpirun or a shell says, which report no error of Xyce's form."""
    lines = [line.strip() for line in printed.splitlines() if line.strip(" -*")]
    return (State.CRASH, lines[0][:200]) if lines else None
