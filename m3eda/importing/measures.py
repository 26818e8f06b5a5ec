"""Measures that a netlist's analyses and `.meas` lines suggest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from m3eda.importing.surroundings import Surroundings

_MEAS = re.compile(r"\.meas(?:ure)?\s+(ac|dc|tran|noise|sp)\s+(\S+)", re.IGNORECASE)
_LARGE_IS_GOOD = re.compile(
    r"gain|gbw|ugf|ugbw|bandwidth|bw|f3db|pm|phase|margin|psrr|cmrr|slew|swing|eff|snr|sfdr", re.I
)  # fmt: skip
_SMALL_IS_GOOD = re.compile(
    r"^i(?:dd|cc|q|supply)|delay|td|tp[dlh]|rise|fall|settl|power|pwr|noise|offset|vos|thd|jitter|"
    r"ripple|overshoot|droop|leak", re.I
)  # fmt: skip
_NAMED = re.compile(r"[A-Za-z][\w.]*")


@dataclass(frozen=True)
class Candidate:
    """A measure that is proposed."""

    name: str
    entry: Mapping[str, object]
    good: str = ""
    """`min` where large values are good, `max` where small ones are, else empty."""
    is_guess: bool = True
    besides: str = ""
    """Name of the measure without which this one says nothing."""


def candidates(around: Surroundings, new_name: Callable[[str], str]) -> list[Candidate]:
    """The measures of a netlist: its `.meas` lines first, then what its analyses give."""
    found = list(_measured(around, new_name))
    for suggest in (_response, _noise, _transient, _sweep, _point, _currents):
        for name, expression, unit, good in suggest(around):
            entry = {"expr": expression, **({"unit": unit} if unit else {})}
            found.append(Candidate(new_name(name), entry, good))
    return found


def _measured(around: Surroundings, new_name: Callable[[str], str]) -> Iterator[Candidate]:
    seen: set[str] = set()
    for card in (*around.circuit.cards, *around.lifted):
        match = _MEAS.match(card.text.strip())
        if match is None or match[2].lower() in seen or not _NAMED.fullmatch(match[2]):
            continue
        meas = match[2].lower()
        seen.add(meas)
        good = "min" if _LARGE_IS_GOOD.search(meas) else ""
        good = "max" if _SMALL_IS_GOOD.search(meas) else good
        yield Candidate(new_name(meas), {"meas": meas}, good, is_guess=False)


_Suggestion = tuple[str, str, str, str]
"""Name, expression, unit, and which side is good."""


def _response(around: Surroundings) -> Iterator[_Suggestion]:
    if not around.has("ac") or not around.output or not around.excitation:
        return
    total = around.excitation
    response = f"v({around.output})" + ("" if abs(total - 1.0) < 1e-9 else f" / {total:g}")
    driven = {s.letter for s in around.sources if " ac" in f" {s.card.text.lower()}"}
    if driven == {"i"}:
        yield "gain", f"dc_gain({response})", "ohm", "min"
        yield "bandwidth", f"bandwidth_3db({response})", "Hz", "min"
        return
    yield "gain", f"db(dc_gain({response}))", "dB", "min"
    yield "ugbw", f"unity_gain_frequency({response})", "Hz", "min"
    yield "pm", f"phase_margin({response})", "deg", "min"
    yield "bandwidth", f"bandwidth_3db({response})", "Hz", "min"


def _noise(around: Surroundings) -> Iterator[_Suggestion]:
    if around.has("noise"):
        yield "noise", "integrated_noise(onoise_spectrum)", "V", "max"


def _transient(around: Surroundings) -> Iterator[_Suggestion]:
    if not around.has("tran") or not around.output:
        return
    node = f"v({around.output})"
    if "pulse" in around.stimuli or "pwl" in around.stimuli:
        yield "slew", f"slew_rate({node})", "V/s", "min"
        yield "settling", f"settling_time({node}, tolerance=1%)", "s", "max"
    elif not around.stimuli:
        yield "frequency", f"frequency({node})", "Hz", ""
    yield "swing", f"peak_to_peak({node})", "V", "min"


def _sweep(around: Surroundings) -> Iterator[_Suggestion]:
    sweeps = [card for card in around.analyses if card.head == ".dc"]
    if sweeps and around.output:
        yield "range", f"output_swing(v({around.output}))", "V", "min"


def _point(around: Surroundings) -> Iterator[_Suggestion]:
    if around.output and (around.has("op") or around.has("ac") or around.has("noise")):
        yield "vout", f"op(v({around.output}))", "V", ""


def _currents(around: Surroundings) -> Iterator[_Suggestion]:
    for source, node in around.supplies:
        sign = "-" if source.nodes[0] == node else ""
        name = re.sub(r"\W", "", node) or source.name
        yield f"i{name}", f"op({sign}i({source.name}))", "A", "max"
