"""How ngspice calls what a measure names: nodes, currents, operating-point values of devices."""

from __future__ import annotations

import re

_DEVICE = re.compile(r"@(.+)\[(\w+)\]")
_CURRENT = re.compile(r"i\((.+)\)|(.+)#branch")
_PORTS = re.compile(r"v\(([SYZ])_(\d+)_(\d+)\)")
_WRAPPED = re.compile(r"[vi]\((@.+|[io]noise_.+|\w+-sweep)\)")

# elements without a branch of their own: their current is an operating-point value
_CURRENTS = {"r": "i", "c": "i", "f": "i", "g": "i", "s": "i", "w": "i", "b": "i",
             "i": "current", "d": "id", "m": "id", "j": "id", "z": "id", "q": "ic"}  # fmt: skip


def flat(name: str) -> str:
    """ngspice's name of an element in a subcircuit: x1.m1 -> m.x1.m1, from the leaf's letter."""
    path = name.split(".")
    return f"{path[-1][0]}.{name}" if len(path) > 1 and path[0][0] == "x" and path[-1] else name


def sources(name: str) -> tuple[str, ...]:
    """The vectors that may hold `name`, the best first, as `canonical` spells them.

    The current of an element without a branch, such as a resistor, is its operating-point value
    `@r1[i]`: it is there in operating point, DC and transient, not in AC, where ngspice has none
    (a 0 V source in series gives it).
    """
    name = name.lower().replace(" ", "")
    if match := _DEVICE.fullmatch(name):
        return (f"@{flat(match[1])}[{match[2]}]",)
    if match := _CURRENT.fullmatch(name):
        element = flat(match[1] or match[2])
        letter = element.rpartition(".")[2][:1]
        branch = f"i({element})"
        value = f"@{element}[{_CURRENTS.get(letter, '')}]"
        if letter == "b":  # a current source or a voltage source
            return branch, value
        return (value,) if letter in _CURRENTS else (branch,)
    return (name,)


def save_name(source: str) -> str:
    """`source` as `.save` reads it."""
    match = _CURRENT.fullmatch(source)
    return f"{match[1]}#branch" if match else source


def canonical(name: str) -> str:
    """A vector's name in a raw file, without the v() or i() that the writer wraps around all."""
    if ports := _PORTS.fullmatch(name):  # a node's name would be in lower case
        return f"{ports[1].lower()}({ports[2]},{ports[3]})"
    name = name.lower()
    match = _WRAPPED.fullmatch(name)
    return match[1] if match else name


def is_device_value(name: str) -> bool:
    return name.startswith("@")


def is_port_parameter(name: str) -> bool:
    """Whether `name` is an S-, Y- or Z-parameter, such as `s(2,1)`."""
    return name[0] in "syz" and name[1] == "("
