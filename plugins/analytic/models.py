"""The models of the simulator `analytic`, and the user's own by file and function."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from m3eda_plugins.analytic.opamp import DEFAULTS, REQUIRED, TwoStage
from numpy.typing import NDArray

from m3eda.design.types import Value
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake, PluginError, cause
from m3eda.simulate.closed_form import ClosedForm, ac, noise, operating_point
from m3eda.simulate.types import Analysis, Deck, SimulationFailed, State, Waveforms
from m3eda.units import NumberError, parse

TWO_STAGE = "two_stage_opamp"
_CARD = re.compile(
    r"^\s*\.(op|dc|ac|tran|noise|sp)\b(?:.*?\b(dec|oct|lin)\s+(\S+)\s+(\S+)\s+(\S+))?",
    re.IGNORECASE | re.MULTILINE,
)
_SWEEP = ("dec", "20", "1", "10e9")
"""Of a deck without analysis cards."""
_MODELLED = ("op", "ac", "noise")


class Analytic(ClosedForm):
    """A `ClosedForm` that knows the file its model stands in."""

    def __init__(self, solve: Callable[[Deck], Waveforms], file: Path | None = None) -> None:
        super().__init__("analytic", solve)
        self._file = file

    def start_file(self) -> str:
        """The text of the model, where it is the user's: results of another are not its."""
        return "" if self._file is None else self._file.read_text(encoding="utf-8")


def simulator_of(options: Mapping[str, Value]) -> Analytic:
    """The simulator with these options. Raises DesignError, PluginError."""
    given = dict(options)
    model = str(given.pop("model", TWO_STAGE))
    if model == TWO_STAGE:
        return Analytic(TwoStageModel(given).solve)
    file, separator, name = model.rpartition(":")
    if not separator or not file.endswith(".py"):
        known = f"known: {TWO_STAGE}, or my_model.py:function"
        raise _mistake(
            "model", f"there is no model '{model}'", nearest(model, [TWO_STAGE]) or known
        )
    if given:
        key = next(iter(given))
        raise _mistake(key, f"a model of your own has no option '{key}'")
    path = Path(file).expanduser().absolute()
    function = _function(path, name)
    return Analytic(lambda deck: _waveforms(function(deck.values), name), path)


class TwoStageModel:
    """The built-in op amp: which value of a design is which of the model's."""

    def __init__(self, options: Mapping[str, Value]) -> None:
        known = (*REQUIRED, *DEFAULTS)
        self._names = {name: name for name in known}
        self._fixed: dict[str, float] = dict(DEFAULTS)
        for key, value in options.items():
            if key not in self._names:
                hint = nearest(key, (*known, "model")) or f"known: model, {', '.join(known)}"
                raise _mistake(key, f"the model {TWO_STAGE} has no value '{key}'", hint)
            try:
                self._fixed[key] = parse(value)
            except NumberError:
                self._names[key] = str(value)

    def solve(self, deck: Deck) -> Waveforms:
        """Every analysis that the deck has a card for; all three of a deck without cards."""
        amplifier = TwoStage.of(self._values(deck))
        asked = [match.groups() for match in _CARD.finditer(deck.text)]
        if not asked:
            asked = [("ac", *_SWEEP), ("noise", *_SWEEP)]
        analyses = [_operating_point(amplifier)]
        for kind, *sweep in asked:
            analyses += _analysis(kind.lower(), sweep, amplifier)
        return Waveforms(tuple(analyses))

    def _values(self, deck: Deck) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, given in self._names.items():
            value = deck.values.get(given, self._fixed.get(name))
            if value is None:
                hint = nearest(given, deck.values) or "a parameter, a condition or an option"
                raise _mistake(name, f"the model {TWO_STAGE} needs '{given}', which nobody gives",
                               hint)  # fmt: skip
            if isinstance(value, str):
                raise _mistake(name, f"'{given}' is '{value}', and no number")
            found[name] = value
        if wrong := next((n for n in _POSITIVE if not found[n] > 0.0), ""):
            reason = f"{self._names[wrong]} is {found[wrong]:g}, and has to be positive"
            raise SimulationFailed(State.PARSE_ERROR, reason)
        return found


_POSITIVE = ("w1", "w3", "w5", "w6", "w7", "w8", "l", "cc", "iref", "vdd", "cload", "kpn", "kpp",
             "tox")  # fmt: skip


def _operating_point(amplifier: TwoStage) -> Analysis:
    vectors = {f"v({name})": volts for name, volts in amplifier.nodes.items()}
    vectors["i(vdd)"] = -amplifier.supply
    for name, point in amplifier.devices.items():
        for quantity in ("id", "gm", "gds", "vgs", "vds", "vdsat", "vth", "cgs", "cgd"):
            vectors[f"@{name}[{quantity}]"] = getattr(point, quantity)
    return operating_point(vectors)


def _analysis(kind: str, sweep: Iterable[str | None], amplifier: TwoStage) -> list[Analysis]:
    if kind not in _MODELLED:
        reason = f"the model {TWO_STAGE} has no .{kind} analysis ({', '.join(_MODELLED)})"
        raise SimulationFailed(State.PARSE_ERROR, reason)
    if kind == "op":
        return []
    frequency = frequencies(*(word or "" for word in sweep))
    gain = amplifier.gain(frequency)
    if kind == "ac":
        return [ac(frequency, {"v(out)": gain})]
    out = amplifier.output_noise(frequency)
    with np.errstate(divide="ignore", invalid="ignore"):
        spectra = {"onoise_spectrum": out, "inoise_spectrum": out / np.abs(gain)}
    return [noise(frequency, spectra)]


@lru_cache(maxsize=64)
def frequencies(kind: str, count: str, start: str, stop: str) -> NDArray[np.float64]:
    """The points of `dec|oct|lin count start stop` in Hz. Raises SimulationFailed."""
    try:
        points, low, high = (parse(word) for word in (count, start, stop))
        if not (points >= 1.0 and 0.0 < low <= high):
            raise NumberError("the sweep has no points")
    except NumberError as error:
        text = " ".join((kind, count, start, stop)).strip() or "no sweep"
        raise SimulationFailed(State.PARSE_ERROR, f"{text}: {error}") from error
    if kind.lower() == "lin":
        made = np.linspace(low, high, int(points))
    else:
        base = 10.0 if kind.lower() == "dec" else 2.0
        steps = np.arange(math.floor(points * math.log(high / low, base) + 1e-9) + 1)
        made = low * base ** (steps / points)
    made.setflags(write=False)  # shared by all who ask
    return made


def _function(path: Path, name: str) -> Callable[[Mapping[str, Value]], Any]:
    """The function `name` of the file `path`. Raises DesignError, PluginError."""
    if not path.is_file():
        raise _mistake(
            "model", f"there is no file {path}", "the path is from the working directory"
        )
    spec = importlib.util.spec_from_file_location(f"m3eda_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise _mistake("model", f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        raise PluginError(f"{path}: does not load: {cause(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value)]
        raise _mistake("model", f"{path} has no function '{name}'", nearest(name, there))
    made: Callable[[Mapping[str, Value]], Any] = function
    return made


def _waveforms(answer: Any, name: str) -> Waveforms:
    """What a model gave: waveforms, or analyses to make them of."""
    if isinstance(answer, Waveforms):
        return answer
    analyses = (answer,) if isinstance(answer, Analysis) else answer
    if isinstance(analyses, (list, tuple)) and all(isinstance(a, Analysis) for a in analyses):
        return Waveforms(tuple(analyses))
    kind = type(answer).__name__
    raise SimulationFailed(State.CRASH, f"the model {name} gave a {kind}, not Waveforms")


def _mistake(key: str, text: str, hint: str = "") -> DesignError:
    return DesignError([Mistake(text, key=f"simulator.options.{key}", hint=hint)])
