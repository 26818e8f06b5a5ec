"""Reads what ngspice printed: why a run failed, and the results of `.meas`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from m3eda_plugins.ngspice.checks import PORT
from m3eda_plugins.ngspice.deck import ECHO

from m3eda.simulate.cards import cards
from m3eda.simulate.types import State

_Found = tuple[State, str]
_Rule = tuple[re.Pattern[str], Callable[["re.Match[str]", str, str], "_Found | None"]]

_MEAS_RESULT = re.compile(r"^(\S+)\s*=\s*(\S+)", re.MULTILINE)
_MODEL = re.compile(r"valid modelname|definition of model|can't find model|unknown model", re.I)
_CONVERGENCE = re.compile(
    r"timestep too small|singular|iteration limit|no convergence|not converge|step(?:ping)? failed"
    r"|op(?:erating point)? failed",
    re.IGNORECASE,
)
_LONG = 120
_TAIL = 2000
_COMPLAINT = re.compile(r"(?:\w+ )?(?:error|warning)", re.IGNORECASE)
_UNRECOGNIZED = re.compile(r"^Warning: unrecognized variable - (\S+)", re.MULTILINE)


def diagnose(log: str, deck_text: str, ignore: Iterable[str] = ()) -> tuple[State, str] | None:
    """State and one-line reason of a run that did not give its results, None where none is said.

    `log` is what was printed, standard error last. `ignore` names `.meas` results, whose failing
    is no failure of the run. Notes that do no harm are not looked at.
    """
    names = "|".join(map(re.escape, ignore)) or r"(?!)"
    log = re.sub(
        rf"(?im)^(Netlist line no\. \d+:)\n\s*Undefined parameter \[(?:{names})\]\n"
        r"\1\nCannot compute substitute$",
        "",
        log,
    )
    for pattern, judge in _RULES:
        for match in pattern.finditer(log):
            found = judge(match, log, deck_text)
            if found is not None:
                return found[0], " ".join(found[1].split())
    return None


def unrecognized(log: str) -> Mapping[str, int]:
    """How often each `@device[value]` was not to be had; its column then holds zeros."""
    counts: dict[str, int] = {}
    for name in _UNRECOGNIZED.findall(log):
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    return counts


def meas_results(stdout: str, wanted: Iterable[str]) -> dict[str, float]:
    """The results of `.meas` by lower-case name; one that failed is absent."""
    values: dict[str, float] = {}
    for name, text in _MEAS_RESULT.findall(stdout):
        try:
            values[name.lower()] = float(text)
        except ValueError:  # "failed"
            values.pop(name.lower(), None)
    results = {}
    for name in wanted:
        short, full = values.get(name), values.get(ECHO + name)
        if short is None:
            continue
        # the repeated one has all digits; at a second analysis of the kind it is out of date
        same = full is not None and abs(full - short) <= 2e-6 * abs(short)
        results[name] = full if same and full is not None else short
    return results


def tail(stdout: str, stderr: str) -> str:
    """The tail of both streams, the errors last, about 2 kB."""
    errors = stderr.replace("\r", "\n").strip()[-_TAIL * 3 // 4 :]
    output = stdout.replace("\r", "\n").strip()[-(_TAIL - len(errors)) :]
    return f"{output}\n{errors}".strip()


def _located(deck_text: str, text: str, number: int = 0) -> str:
    """`line 3: ` where the netlist holds `text` itself, empty where it came from elsewhere.

    `number` is ngspice's own, which counts within whichever file it is reading.
    """
    key = "".join(text.lower().split())
    lines = [
        card.first + 1
        for card in cards(deck_text)
        if key and "".join(card.text.lower().split()).startswith(key)
    ]
    if not lines:
        return ""
    return f"line {number if number in lines else lines[0]}: "


def _substitute(match: re.Match[str], log: str, deck_text: str) -> _Found:
    why, line = match["why"].strip(), match["line"]
    if len(line) > _LONG:  # ngspice gives each parameter of a subcircuit's device in 22 digits
        line = f"{' '.join(line.split())[:_LONG]}..."
    if line.lower().startswith(".noise"):
        why = "expected an output, a source and a sweep, such as v(out) vin dec 10 1 1meg"
    state = State.MODEL_MISSING if _MODEL.search(why) else State.PARSE_ERROR
    return state, f"{_located(deck_text, line, int(match['number'] or 0))}{why}: {line}"


def _subcircuit(match: re.Match[str], log: str, deck_text: str) -> _Found:
    return State.MODEL_MISSING, f"{_located(deck_text, match['line'])}{match[0]}"


def _parameter(match: re.Match[str], log: str, deck_text: str) -> _Found:
    """A numparam error: its line number holds where the netlist's line has the name."""
    lines, number = deck_text.splitlines(), int(match["number"])
    name = re.search(r"\[(\w+)\]", match["why"])
    word = re.compile(rf"\b{name[1]}\b" if name else r"[{}']", re.IGNORECASE)
    if 0 < number <= len(lines) and word.search(lines[number - 1]):
        return State.PARSE_ERROR, f"line {number}: {match['why']}: {lines[number - 1].strip()}"
    return State.PARSE_ERROR, match["why"].strip()


def _fatal_model(match: re.Match[str], log: str, deck_text: str) -> _Found:
    device = re.search(r"parameter checking for\s+(model \S+(?: of device instance \S+)?)", log)
    return State.MODEL_MISSING, f"{device[1] + ': ' if device else ''}{match['why']}"


def _analysis(match: re.Match[str], log: str, deck_text: str) -> _Found | None:
    why = match["why"].strip()
    if "no data saved" in log:
        return State.VECTOR_MISSING, "none of the vectors to save is there"
    if _CONVERGENCE.search(why):
        return State.NO_CONVERGENCE, why
    before = [line.strip() for line in log[: match.start()].splitlines() if line.strip()]
    detail = (
        before[-1] if before and re.match(r"(?i)(fatal |\w+ )?(error|warning)", before[-1]) else ""
    )
    return State.PARSE_ERROR, f"{why}: {detail}" if detail else why


def _noise_source(match: re.Match[str], log: str, deck_text: str) -> _Found:
    source, why = match["source"], match["why"].strip()
    number = next((c.first + 1 for c in cards(deck_text) if c.kind == "noise"), 0)
    hint = {
        "has no AC value": "write `ac 1` on its line",
        "is not of proper type": "it must be a voltage or current source",
    }.get(why, "name a voltage or current source of the netlist")
    place = f"line {number}: " if number else ""
    return State.PARSE_ERROR, f"{place}the noise analysis's source {source} {why} ({hint})"


def _says(state: State, words: str = "{0}") -> Callable[[re.Match[str], str, str], _Found]:
    return lambda match, log, deck_text: (state, words.format(match[0], *match.groups()))


def _rule(pattern: str, judge: Callable[[re.Match[str], str, str], _Found | None]) -> _Rule:
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE), judge


# the first that fits names the cause: what ngspice says later mostly follows from it
_RULES: tuple[_Rule, ...] = (
    _rule(r"library file \S+, section definition \S+ not found", _says(State.MODEL_MISSING)),
    _rule(r"could not find (?:include|library) file .*", _says(State.MODEL_MISSING)),
    _rule(r"unknown subckt: (?P<line>.*)", _subcircuit),
    _rule(
        r"^Error on line(?: (?P<number>\d+).*)?:\s*\n\s*(?P<line>.*)\n\s*(?P<why>.*)", _substitute
    ),
    _rule(r"^Too few parameters for subcircuit.*", _says(State.PARSE_ERROR)),
    _rule(
        r"^Error: (Mismatch of .subckt .*)\n(?:.*\n)*?Check line (.*)",
        _says(State.PARSE_ERROR, "{1} {2}"),
    ),
    _rule(r"^Netlist line no\. (?P<number>\d+):\n\s*(?P<why>.*)", _parameter),
    _rule(r"^Fatal: (?P<why>.*)", _fatal_model),
    _rule(r"^Warning: Noise input source (?P<source>\S+) (?P<why>.*)", _noise_source),
    _rule(
        r"^No RF Port is present", _says(State.PARSE_ERROR, f"the .sp analysis has no port: {PORT}")
    ),
    _rule(
        r"^Fatal error: (\S+): (duplicate port Index|incorrect port ordering)",
        _says(State.PARSE_ERROR, "{1}: {2}: the ports are numbered 1, 2, 3..., each once"),
    ),
    _rule(r"^doAnalyses:\s*(?P<why>.*)", _analysis),
    _rule(
        r"vector (@\S+) is not available or has zero length",
        _says(State.VECTOR_MISSING, "the netlist gives no {1}"),
    ),
    _rule(r"^(?:Fatal )?Error[:, ]\s*(.*)", _says(State.PARSE_ERROR, "{1}")),
)
