"""From the names in a simulator's results to those that measures use: `out` -> `v(out)`.

Spectre calls a node by its name, a terminal's current `V0:p` and an operating-point value `M1:gm`;
HSPICE prints v(out), i(vdd) and lx7(m1). Case and blanks do not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from m3eda.simulate.signals import device_vector
from m3eda.simulate.types import AnalysisKind

_OWN = re.compile(r"[vi]\([^()]+\)|@[^\[\]]+\[\w+\]|[syz]\(\d+,\d+\)|[io]noise_(spectrum|total)")
_DEVICE = re.compile(r"@(.+)\[(\w+)\]")
_TEMPLATE = re.compile(r"(\w+)\(([a-z][\w.]*)\)")
_PORTS = re.compile(r"([syz])(\d)(\d)|([syz])_?(\d+)_(\d+)")
_TERMINALS = ("p", "1", "plus", "in", "i")
"""Words for the first terminal of a source, whose current is the source's."""

TEMPLATES: Mapping[str, str] = {
    "lx2": "vgs", "lx3": "vds", "lx1": "vbs", "lx4": "id", "lx7": "gm", "lx8": "gds", "lx9": "gmbs",
    "lv9": "vth", "lv10": "vdsat",
}  # fmt: skip
"""Element templates of a MOSFET in HSPICE, and the values they print."""

SAME: Mapping[str, tuple[str, ...]] = {
    "id": ("ids",), "ids": ("id",), "vth": ("vt",), "vdsat": ("vdss",), "ic": ("i_c",),
}  # fmt: skip
"""Operating-point values, and what else simulators call them."""

NOISE = {"out": "onoise_spectrum", "onoise": "onoise_spectrum", "in": "inoise_spectrum",
         "inoise": "inoise_spectrum"}  # fmt: skip


def canonical(name: str, kind: AnalysisKind, *, is_current: bool = False) -> str:
    """What a measure calls the result `name` of an analysis of that kind."""
    name = name.lower().replace(" ", "")
    if kind == "noise" and name in NOISE:
        return NOISE[name]
    if match := _DEVICE.fullmatch(name):
        return device_vector(match[1], match[2])
    if _OWN.fullmatch(name):
        return name
    if kind == "sp" and (match := _PORTS.fullmatch(name)):
        letter, *ports = (match[1], match[2], match[3]) if match[1] else match.group(4, 5, 6)
        return f"{letter}({ports[0]},{ports[1]})"
    device, _, member = name.rpartition(":")
    if device:
        is_source = device.rpartition(".")[2].startswith("v")
        if member == "p" or (member in _TERMINALS and (is_current or is_source)):
            return f"i({device})"
        return f"i({name})" if is_current and len(member) == 1 else device_vector(device, member)
    if match := _TEMPLATE.fullmatch(name):
        return device_vector(match[2], TEMPLATES.get(match[1], match[1]))
    return f"i({name})" if is_current else f"v({name})"


def sources(name: str) -> tuple[str, ...]:
    """The canonical names that may hold what a measure calls `name`, the best first."""
    match = _DEVICE.fullmatch(name)
    if match is None:
        return (name,)
    return (name, *(f"@{match[1]}[{other}]" for other in SAME.get(match[2], ())))
