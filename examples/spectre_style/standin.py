"""Stands in for Spectre, so that this example runs where Spectre is not installed.

    python3 standin.py input.scs -format psfascii -raw psf

It reads a few lines of Spectre's own dialect (resistor, capacitor, vsource; dc, ac and tran) and
writes results as PSF ASCII. With Spectre itself change the command in design.yaml.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

POINTS = 1000
"""Steps of a transient."""
SCALES = {"T": 1e12, "G": 1e9, "M": 1e6, "K": 1e3, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9,
          "p": 1e-12, "f": 1e-15}  # fmt: skip
"""Spectre's scale factors: unlike in SPICE, M is a million."""


class Refused(Exception):
    """What the netlist has wrong, as Spectre would say it."""


class Circuit:
    """G x + C dx/dt = b(t); x holds node voltages, then the currents of sources."""

    def __init__(self, text: str) -> None:
        self.elements: list[tuple[str, list[str], str, dict[str, str]]] = []
        self.analyses: list[tuple[str, str, dict[str, str]]] = []
        lines = re.sub(r"//.*|^\*.*", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        for line in filter(None, map(str.strip, lines.splitlines()[1:])):
            self._read(line)
        nodes = dict.fromkeys(node for _, ends, _, _ in self.elements for node in ends)
        self.nodes = [node for node in nodes if node != "0"]
        self.sources = [name for name, _, master, _ in self.elements if master == "vsource"]
        self.names = [*self.nodes, *(f"{name}:p" for name in self.sources)]
        size = len(self.names)
        self.g, self.c = np.zeros((size, size)), np.zeros((size, size))
        for name, ends, master, given in self.elements:
            self._stamp(name, ends, master, given)

    def _read(self, line: str) -> None:
        if element := re.fullmatch(r"(\w+)\s*\(([^)]*)\)\s*(\w+)\s*(.*)", line):
            given = dict(re.findall(r"(\w+)=(\S+)", element[4]))
            self.elements.append((element[1], element[2].split(), element[3], given))
        elif analysis := re.fullmatch(r"(\w+)\s+(dc|ac|tran)\b(.*)", line):
            given = dict(re.findall(r"(\w+)=(\S+)", analysis[3]))
            self.analyses.append((analysis[1], analysis[2], given))
        elif not re.match(r"simulator\s+lang=spectre|\w+\s+options\b|save\b", line):
            raise Refused(f"ERROR (SFE-675): syntax error in `{line}'")

    def _stamp(self, name: str, ends: list[str], master: str, given: Mapping[str, str]) -> None:
        places = [(self.names.index(end), sign)
                  for end, sign in zip(ends, (1.0, -1.0), strict=False) if end != "0"]  # fmt: skip
        if master == "vsource":
            branch = self.names.index(f"{name}:p")
            for node, sign in places:
                self.g[node, branch] = self.g[branch, node] = sign
        elif master in ("resistor", "capacitor"):
            value = number(given, master[0])
            matrix, value = (self.c, value) if master == "capacitor" else (self.g, 1.0 / value)
            for row, one in places:
                for column, other in places:
                    matrix[row, column] += one * other * value
        else:
            raise Refused(f"ERROR (SFE-23): `{name}' refers to an undefined model `{master}'")

    def drive(self, key: str) -> np.ndarray[Any, Any]:
        """The right side where each source has its value `key`."""
        b = np.zeros(len(self.names))
        for name, _, master, given in self.elements:
            if master == "vsource" and key in given:
                b[self.names.index(f"{name}:p")] = number(given, key)
        return b

    def op(self) -> np.ndarray[Any, Any]:
        return solved(self.g, self.drive("dc"))

    def ac(self, given: Mapping[str, str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        start, stop, dec = (number(given, key) for key in ("start", "stop", "dec"))
        steps = np.arange(np.floor(dec * np.log10(stop / start) + 1e-9) + 1)
        frequency = start * 10.0 ** (steps / dec)
        matrix = self.g + 2j * np.pi * frequency[:, None, None] * self.c
        right = np.broadcast_to(self.drive("mag"), (len(frequency), len(self.names)))
        return frequency, solved(matrix, right[..., None])[..., 0]

    def tran(self, given: Mapping[str, str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """From rest, sources at `val1` from the time 0 on; trapezoidal after one Euler step."""
        time = np.linspace(0.0, number(given, "stop"), POINTS + 1)
        step, b = time[1], self.drive("val1")
        x = np.zeros((len(time), len(self.names)))
        for k in range(1, len(time)):
            if k == 1:
                x[k] = solved(self.g + self.c / step, b)
            else:
                change = self.c * (2.0 / step)
                x[k] = solved(self.g + change, 2.0 * b + (change - self.g) @ x[k - 1])
        return time, x


def solved(matrix: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        raise Refused("ERROR (SPECTRE-16192): No convergence achieved in DC analysis.") from None


def number(given: Mapping[str, str], key: str) -> float:
    word = given.get(key, "")
    factor = SCALES.get(word[-1:], 1.0)
    try:
        return float(word if factor == 1.0 else word[:-1]) * factor
    except ValueError:
        raise Refused(f"ERROR (SFE-1996): undefined parameter `{word}' for `{key}'") from None


def psf(header: Mapping[str, Any], names: Sequence[str], scale: str, rows: Iterable[Any]) -> str:
    """A file of PSF ASCII; `rows` hold the swept value first, where `scale` is not empty."""
    rows = [list(row) for row in rows]
    word = "COMPLEX" if any(isinstance(value, complex) for value in rows[0]) else "FLOAT"
    lines = ["HEADER", '"PSFversion" "1.00"', '"simulator" "standin"']
    lines += [f'"{key}" ' + (f'"{value}"' if isinstance(value, str) else f"{value:.6e}")
              for key, value in header.items()]  # fmt: skip
    lines += ["TYPE"]
    if scale:
        lines += ['"sweep" FLOAT DOUBLE PROP(', '"key" "sweep"', ")"]
    for kind, unit in (("V", "V"), ("I", "A")):
        lines += [f'"{kind}" {word} DOUBLE PROP(', f'"units" "{unit}"', ")"]
    kinds = ["I" if name.endswith(":p") else "V" for name in names]
    if scale:
        unit = "s" if scale == "time" else "Hz"
        lines += ["SWEEP", f'"{scale}" "sweep" PROP(', f'"units" "{unit}"', ")", "TRACE"]
        lines += [f'"{name}" "{kind}"' for name, kind in zip(names, kinds, strict=True)]
    lines += ["VALUE"]
    for row in rows:
        if scale:
            lines.append(f'"{scale}" {row.pop(0).real:.15e}')
        for name, kind, value in zip(names, kinds, row, strict=True):
            lines.append(f'"{name}" {text(value)}' if scale else f'"{name}" "{kind}" {text(value)}')
    return "\n".join([*lines, "END", ""])


def text(value: Any) -> str:
    if isinstance(value, complex):
        return f"({value.real:.15e} {value.imag:.15e})"
    return f"{value:.15e}"


def simulate(deck: Path, raw: Path) -> None:
    circuit = Circuit(deck.read_text())
    raw.mkdir(parents=True, exist_ok=True)
    for name, kind, given in circuit.analyses:
        header: dict[str, Any] = {"analysis type": kind, "analysis name": name}
        if kind == "dc":
            content = psf(header, circuit.names, "", [circuit.op().tolist()])
        else:
            header["stop"] = number(given, "stop")
            x, y = circuit.ac(given) if kind == "ac" else circuit.tran(given)
            rows = np.column_stack([x, y]).tolist()
            content = psf(header, circuit.names, "freq" if kind == "ac" else "time", rows)
        (raw / (f"{name}.{kind}" if kind != "tran" else f"{name}.tran.tran")).write_text(content)


def main() -> int:
    parser = argparse.ArgumentParser(description="A stand-in for Spectre.")
    parser.add_argument("deck", type=Path, nargs="?")
    parser.add_argument("-raw", type=Path, default=Path("psf"))
    parser.add_argument("-format", choices=["psfascii"], default="psfascii")
    parser.add_argument("-W", action="store_true", help="tell the version")
    given = parser.parse_args()
    if given.W or given.deck is None:
        sys.stdout.write("standin 1.0\n")
        return 0
    try:
        simulate(given.deck, given.raw)
    except Refused as refusal:
        sys.stdout.write(f"{refusal}\nspectre terminated prematurely due to fatal error.\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
