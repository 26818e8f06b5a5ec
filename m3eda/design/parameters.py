"""The parameters of a design file: their forms, ranges, grids and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3eda.design.eseries import values_between
from m3eda.design.problems import Problems
from m3eda.design.scalars import Number
from m3eda.design.schema import FORMS, ParameterEntry
from m3eda.design.types import Parameter, Scale, Sizing, Value
from m3eda.design.yamlfile import KeyPath, nearest
from m3eda.units import format_engineering, same_unit

LOG_DECADES = 10.0
"""max / min from which a positive range is searched on a log scale by default."""

_FORM_WORDS = "min and max, choices, value or expr"


def plain(value: Number | str) -> Value:
    return value.value if isinstance(value, Number) else value


def build_parameters(
    entries: dict[str, ParameterEntry], problems: Problems
) -> dict[str, Parameter]:
    """The parameters that hold together; what does not is noted and left out."""
    built: dict[str, Parameter] = {}
    for name, entry in entries.items():
        before = len(problems.mistakes)
        parameter = _Builder(name, entry, problems).build()
        trimmed = ("parameters", name) in problems.trimmed
        if parameter is None or trimmed or len(problems.mistakes) > before:
            problems.broken.add(("parameters", name))
        else:
            built[name] = parameter
    return built


def build_starts(
    entries: Sequence[Mapping[str, Number | str]],
    parameters: Mapping[str, Parameter],
    problems: Problems,
) -> tuple[Sizing, ...]:
    """The sizings under `starts`; a value that no sizing can have is noted."""
    for index, entry in enumerate(entries):
        for name, value in entry.items():
            path = ("starts", index, name)
            parameter = parameters.get(name)
            if parameter is not None and parameter.free:
                _check_start(parameter, plain(value), path, problems)
            elif parameter is not None:
                problems.add(path, f"{name} is not free", "remove it", of_key=True)
            elif not problems.is_broken("parameters", name):
                hint = nearest(name, parameters) or f"known: {', '.join(parameters)}"
                problems.add(path, f"no parameter is called '{name}'", hint, of_key=True)
    return tuple({name: plain(value) for name, value in entry.items()} for entry in entries)


def _check_start(parameter: Parameter, value: Value, path: KeyPath, problems: Problems) -> None:
    low, high = parameter.minimum, parameter.maximum
    if any(isinstance(choice, str) for choice in parameter.choices):
        if value not in parameter.choices:
            problems.add(path, "is not among the choices")
    elif isinstance(value, str):
        problems.add(path, f"'{value}' is not a number")
    elif low is not None and high is not None and not low <= value <= high:
        unit = parameter.unit
        ends = f"{format_engineering(low, unit)} to {format_engineering(high, unit)}"
        problems.add(path, f"{format_engineering(value, unit)} lies outside of {ends}")


class _Builder:
    def __init__(self, name: str, entry: ParameterEntry, problems: Problems) -> None:
        self.name = name
        self.entry = entry
        self.problems = problems

    def build(self) -> Parameter | None:
        form = self._form()
        if form is None or not self._units_agree():
            return None
        entry = self.entry
        parameter = Parameter(
            self.name, expression=entry.expr or "", kind=entry.kind, unit=entry.unit,
            value=None if entry.value is None else plain(entry.value),
            start=None if entry.start is None else plain(entry.start),
            description=entry.description, **self._values(form),
        )  # fmt: skip
        if entry.start is not None and (parameter.frozen or parameter.tied):
            self._add("start", "only a parameter that is free has a start", "remove it")
        return parameter

    def _add(self, key: str, message: str, hint: str = "", of_key: bool = False) -> None:
        path = ("parameters", self.name, key) if key else ("parameters", self.name)
        self.problems.add(path, message, hint, of_key=of_key or not key)

    def _trimmed(self) -> bool:
        return ("parameters", self.name) in self.problems.trimmed

    def _form(self) -> frozenset[str] | None:
        """The one form that is used, None where there is none or more than one."""
        given = {key for key in ParameterEntry.model_fields if getattr(self.entry, key) is not None}
        used = [form for form in FORMS if form & given]
        if len(used) == 1:
            return used[0]
        if not used:
            if not self._trimmed():
                self._add("", "has no value", f"give {_FORM_WORDS}")
            return None
        extra = next(key for key in ("expr", "value", "choices") if key in given)
        self._add(extra, "cannot stand beside another form", f"give either {_FORM_WORDS}",
                  of_key=True)  # fmt: skip
        return None

    def _units_agree(self) -> bool:
        """Units written with numbers must agree with `unit`, or with each other."""
        wanted, agree = self.entry.unit, True
        for key in ("min", "max", "step", "value", "start", "choices"):
            found = getattr(self.entry, key)
            for number in found if isinstance(found, list) else [found]:
                if not isinstance(number, Number) or not number.unit:
                    continue
                wanted = wanted or number.unit
                if not same_unit(number.unit, wanted):
                    self._add(key, f"is in {number.unit}, but {self.name} is in {wanted}")
                    agree = False
        return agree

    def _values(self, form: frozenset[str]) -> dict[str, Any]:
        """The fields of Parameter that belong to `form`."""
        if "choices" in form:
            return {"choices": self._choices()}
        if "min" not in form:
            return {}
        if self.entry.min is None or self.entry.max is None:
            missing = "min" if self.entry.min is None else "max"
            if not self._trimmed():
                self._add("", f"has no {missing}", "a range needs min and max")
            return {}
        return self._range(self.entry.min.value, self.entry.max.value)

    def _choices(self) -> tuple[Value, ...]:
        choices = tuple(plain(choice) for choice in self.entry.choices or [])
        if not choices:
            self._add("choices", "is empty", "give one value or more")
        if len(set(choices)) < len(choices):
            self._add("choices", "holds a value twice")
        start = self.entry.start
        if start is not None and choices and plain(start) not in choices:
            self._add("start", "is not among the choices")
        return choices

    def _range(self, low: float, high: float) -> dict[str, Any]:
        unit = self.entry.unit
        if low >= high:
            shown = format_engineering(low, unit), format_engineering(high, unit)
            if low > high:
                self._add("min", f"min {shown[0]} is over max {shown[1]}", "swap them")
            else:
                self._add("min", f"min and max are both {shown[0]}", f"write value: {shown[0]}")
            return {}
        start = self.entry.start
        if isinstance(start, str):
            self._add("start", f"'{start}' is not a number")
        elif start is not None and not low <= start.value <= high:
            self._add(
                "start", f"{format_engineering(start.value, unit)} lies outside of min to max"
            )
        if self.entry.series is not None:
            return self._series(low, high)
        return {"minimum": low, "maximum": high, "step": self._step(high - low),
                "scale": self._scale(low, high)}  # fmt: skip

    def _step(self, width: float) -> float | None:
        if self.entry.step is None:
            return None
        step, unit = self.entry.step.value, self.entry.unit
        if step <= 0.0:
            self._add("step", "must be greater than 0")
        elif step > width * (1.0 + 1e-9):
            shown = format_engineering(step, unit), format_engineering(width, unit)
            self._add("step", f"step {shown[0]} is larger than the range, {shown[1]}")
        return step

    def _scale(self, low: float, high: float) -> Scale:
        if self.entry.scale == "log" and low <= 0.0:
            self._add("scale", "log needs a min greater than 0", "write scale: linear")
        if self.entry.scale is not None:
            return self.entry.scale
        return "log" if low > 0.0 and high / low >= LOG_DECADES * (1.0 - 1e-9) else "linear"

    def _series(self, low: float, high: float) -> dict[str, Any]:
        series = self.entry.series or ""
        for key in ("step", "scale"):
            if getattr(self.entry, key) is not None:
                self._add(key, f"has no meaning beside series: {series}", "remove it", of_key=True)
        if low <= 0.0:
            self._add("min", f"must be greater than 0 for series {series}")
            return {}
        choices = values_between(series, low, high)
        if not choices:
            self._add("series", f"{series} has no value between min and max")
        return {"minimum": low, "maximum": high, "series": series, "choices": choices,
                "scale": "log"}  # fmt: skip
