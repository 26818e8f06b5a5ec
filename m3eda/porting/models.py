"""Devices that templates ask for and a technology does not have."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from m3eda.circuits.technology import entry_of
from m3eda.design.types import Design, Technology
from m3eda.errors import DesignError, Mistake
from m3eda.porting.devices import Transistor
from m3eda.porting.mapping import Move
from m3eda.simulate.templates import template_folders, template_sources

SHORTEST, LONGEST = 1e-10, 1e-1
"""m; what lies outside is a number in another unit."""
_LACKS = "has no device '"


def names_of(technology: Technology) -> list[str]:
    """The devices of a technology."""
    return [str(name) for name in entry_of(technology, "devices") or {}]


@contextlib.contextmanager
def with_devices(technology: Technology) -> Iterator[None]:
    """A template's mistake that names a device which is not there tells all that are."""
    try:
        yield
    except DesignError as error:
        there = f"it has {', '.join(names_of(technology)) or 'none'}"
        raise DesignError(
            [
                replace(each, message=each.message.partition(" (")[0], hint=there)
                if _LACKS in each.message
                else each
                for each in error.mistakes
            ]
        ) from error


def check_models(design: Design, move: Move, found: Sequence[Transistor]) -> None:
    """Raise DesignError where a template calls a model of the old technology by its name and the
    new one has no such model, and where it writes sizes that no transistor has."""
    old, new = _models(move.old), _models(move.new)
    mistakes: dict[tuple[str, str], Mistake] = {}
    for each in found:
        wrong = [key for key in ("w", "l") if not _is_length(each.sizes[key])]
        if wrong:
            file, line = _place(design, each)
            text = (f"{each.name} gets {wrong[0]}={each.sizes[wrong[0]]:g} m in {move.new.name}: "
                    "the template writes or rounds sizes for another unit")  # fmt: skip
            hint = "a length of 1 stands for technology.instance.unit, in m"
            mistakes.setdefault(("", str(file)), Mistake(text, file, line, hint=hint))
        if each.model in old and each.model not in new:
            file, line = _place(design, each)
            text = (f"{each.name} calls the model {each.model} of {move.old.name} by its name, "
                    f"and {move.new.name} has {_alike(move, old[each.model])}")  # fmt: skip
            hint = f"write {{{{ technology.devices.{old[each.model]}.model }}}}"
            mistakes.setdefault((each.model, str(file)), Mistake(text, file, line, hint=hint))
    if mistakes:
        raise DesignError(list(mistakes.values()))


def _is_length(value: float) -> bool:
    """True for a size of a transistor in m, and for what is no plain number."""
    return math.isnan(value) or SHORTEST < value < LONGEST


def _alike(move: Move, device: str) -> str:
    """The devices of the new technology of the same type, with their models."""
    wanted = entry_of(move.old, "devices", device, "type")
    found = [
        f"{name} ({entry['model']})"
        for name, entry in (entry_of(move.new, "devices") or {}).items()
        if isinstance(entry, Mapping) and entry.get("type") == wanted and "model" in entry
    ]
    return ", ".join(found) or "none of its type"


def _models(technology: Technology) -> dict[str, str]:
    """Model in lower case -> the device's name."""
    devices = entry_of(technology, "devices") or {}
    return {
        str(entry.get("model", "")).lower(): str(name)
        for name, entry in devices.items()
        if isinstance(entry, Mapping)
    }


def _place(design: Design, device: Transistor) -> tuple[Path, int | None]:
    """The template and line where `device` stands, as far as that can be told."""
    template = design.testbenches[device.testbench].template
    own = {device.card[1], device.card[1].removeprefix("x")}
    for path in template_sources(template, template_folders(template, design.path)):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            words = line.lower().split()
            if device.model in words and any(each in line.lower() for each in own):
                return path, number
    return template, None
