"""What a design asks of its kit, held against it before any simulation: its version, and models
for every size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from m3eda.design.extends import mistake_at
from m3eda.design.space import Space
from m3eda.design.ties import at_nominal, complete
from m3eda.design.types import Design, Sizing, Technology, Value
from m3eda.errors import Mistake
from m3eda.simulate.files import content_hash
from m3eda.simulate.render import Renderer
from m3eda.units import NumberError, format_engineering, parse

_SIZE = re.compile(r"\b(w|l|nf)\s*=\s*([^\s={}']+)", re.IGNORECASE)
_INSTANCE = re.compile(r"^[xm]\S*\s", re.IGNORECASE)
_WORDS = {"w": "width", "l": "length"}
CHECKSUM = 16
"""Digits of a checksum that a design needs to tell the versions of a kit apart."""


@dataclass(frozen=True)
class _Outside:
    """A device whose size no model covers."""

    device: str
    model: str
    letter: str
    size: float
    limit: float
    fingers: float = 1.0

    def text(self, technology: str) -> str:
        begins = "begin" if self.size < self.limit else "end"
        if self.letter == "nf":
            size, limit = f"{self.size:g} fingers", f"{self.limit:g}"
        else:
            finger = " a finger" if self.letter == "w" and self.fingers != 1.0 else ""
            size = f"a {_WORDS[self.letter]} of {format_engineering(self.size, 'm')}{finger}"
            limit = format_engineering(self.limit, "m")
        return (
            f"gives {self.device} {size}, but models of {self.model} in {technology} {begins} at "
            f"{limit}"
        )


def kit_mistakes(design: Design) -> list[Mistake]:
    """That the kit is another version than the design says, else each end of a parameter's range
    that makes a device no model covers.

    Sizes are those of technologies that say `sizes.binned: true`. Raises DesignError where a
    template does not render.
    """
    return _version_mistakes(design) or _size_mistakes(design)


def checksum_of(technology: Technology) -> str:
    """SHA-256 over the model files of every corner and all that they include."""
    files = [*technology.includes.get("", ()), *([technology.lib] if technology.lib else [])]
    return hashlib.sha256("".join(map(content_hash, files)).encode()).hexdigest()


def _version_mistakes(design: Design) -> list[Mistake]:
    technology = design.technology
    wanted = str(technology.data.get("checksum", "")) if technology is not None else ""
    if technology is None or not wanted:
        return []
    found = checksum_of(technology)
    if found.startswith(wanted):
        return []
    message = f"the models of {technology.name} are another version"
    hint = f"their checksum is {found[:CHECKSUM]}, not {wanted}"
    return [mistake_at(design.path, ("technology", "checksum"), message, hint)]


def _size_mistakes(design: Design) -> list[Mistake]:
    technology = design.technology
    sizes = technology.data.get("sizes", {}) if technology is not None else {}
    if technology is None or str(sizes.get("binned", "")).lower() != "true":
        return []
    bins = _Bins(design, sizes)
    space = Space(design)
    centre = complete(design, space.sizing(space.centre()) if space.dimension else {})
    for outside in bins.outside(centre):
        text = f"at their centre, {outside.text(technology.name)}"
        return [mistake_at(design.path, ("parameters",), text)]
    found = []
    for name, key, value in _ends(design):
        sizing = complete(design, {**{p.name: centre[p.name] for p in design.free}, name: value})
        for outside in bins.outside(sizing)[:1]:
            path = ("parameters", name, key)
            found.append(mistake_at(design.path, path, outside.text(technology.name)))
    return found


def _ends(design: Design) -> Iterator[tuple[str, str, Value]]:
    for parameter in design.free:
        if parameter.choices:
            yield from ((parameter.name, "choices", choice) for choice in parameter.choices)
        elif parameter.minimum is not None and parameter.maximum is not None:
            yield parameter.name, "min", parameter.minimum
            yield parameter.name, "max", parameter.maximum


class _Bins:
    """The limits of a technology's devices, held against decks."""

    def __init__(self, design: Design, sizes: Mapping[str, Any]) -> None:
        assert design.technology is not None
        data = design.technology.data
        self.unit = parse(data.get("instance", {}).get("unit", 1.0))
        self.limits: dict[str, dict[str, float]] = {}
        for device in data.get("devices", {}).values():
            if device.get("type") in ("n", "p"):
                merged = {**sizes, **device}
                words = ("l_min", "l_max", "w_min", "w_max")
                limits = {word: parse(merged[word]) for word in words if word in merged}
                self.limits[str(device["model"]).lower()] = limits
        self.testbenches = [at_nominal(design, each) for each in design.testbenches.values()]
        self.renderer, self.corner = Renderer(design), design.nominal

    def outside(self, sizing: Sizing) -> list[_Outside]:
        """Devices without a model at `sizing`, which is complete."""
        found: dict[str, _Outside] = {}
        for testbench in self.testbenches:
            text = self.renderer.deck(testbench, self.corner, sizing).text
            for line in text.replace("\n+", " ").splitlines():
                if _INSTANCE.match(line):
                    for each in self._device(line.lower()):
                        found.setdefault(each.device, each)
        return list(found.values())

    def _device(self, line: str) -> Iterator[_Outside]:
        words = line.split()
        model = next((word for word in words[1:] if word in self.limits), None)
        if model is None:
            return
        values = {}
        for letter, text in _SIZE.findall(line):
            try:
                values[letter] = parse(text)
            except NumberError:
                continue  # a formula of the netlist's own
        fingers = values.pop("nf", 1.0)
        if fingers < 1.0:
            yield _Outside(words[0], model, "nf", fingers, 1.0)
            return
        for letter, value in values.items():
            size = value * self.unit / (fingers if letter == "w" else 1.0)
            for word, sign in ((f"{letter}_min", 1.0), (f"{letter}_max", -1.0)):
                limit = self.limits[model].get(word)
                if limit is not None and sign * (limit - size) > 1e-6 * limit:
                    yield _Outside(words[0], model, letter, size, limit, fingers)
