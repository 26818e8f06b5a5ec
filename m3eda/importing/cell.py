"""A first testbench for a device under test that comes alone, as from an LVS netlist.

What the pins are is told from their names and from what is connected to them, and so guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from m3eda.importing.devices import Circuit, Device, is_ground, is_rail
from m3eda.importing.measures import Candidate
from m3eda.importing.reader import Subcircuit
from m3eda.importing.templates import MODELS, escaped

_PLUS = re.compile(r"v?i(?:n(?:put)?)?_?[p+]|plus|in_?pos|vp|non_?inv|vin_?plus", re.IGNORECASE)
_MINUS = re.compile(r"v?i(?:n(?:put)?)?_?[nm-]|minus|in_?neg|vn|vm|inv|vin_?minus", re.IGNORECASE)
_INPUT = re.compile(r"v?in(?:put)?|a|rf_?in", re.IGNORECASE)
_OUTPUT = re.compile(r"v?o(?:ut(?:put)?)?(?:_?p|\+)?|y|z|q", re.IGNORECASE)
_OUTPUT_MINUS = re.compile(r"v?o(?:ut(?:put)?)?(?:_?[nmb]|-)|vout_?minus", re.IGNORECASE)
_CURRENT = re.compile(r"i_?(?:b|bias|ref|in|tail)?\w{0,3}", re.IGNORECASE)
_SUPPLY, _COMMON, _BIAS, _LOAD = 1.8, 0.5, 10e-6, 1e-12
"""Where nothing tells: supply in V, inputs as a share of it, a bias in A, a load in F."""

NewName = Callable[[str], str]


@dataclass
class Testbench:
    """A testbench that is proposed."""

    __test__ = False

    lines: list[str] = field(default_factory=list)
    conditions: dict[str, float] = field(default_factory=dict)
    measures: list[Candidate] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Pins whose part in the circuit is not known."""


def testbench(
    circuit: Circuit, template: str, supply: float, new_name: NewName, *, models: bool
) -> Testbench:
    """A testbench for the cell of `circuit`, whose template is called `template`.

    `supply` is the nominal one in V, 0 where it is not known; `models` tells whether the design
    has a technology.
    """
    return _Builder(circuit, supply or _SUPPLY, new_name).build(template, models)


class _Builder:
    def __init__(self, circuit: Circuit, supply: float, new_name: NewName) -> None:
        self.circuit = circuit
        self.cell: Subcircuit = circuit.cell
        self.supply = supply
        self.new_name = new_name
        self.made = Testbench()
        self.nodes = {pin: self._node(pin) for pin in self.cell.pins}
        self.rail = ""
        """Node of the first supply."""

    def build(self, template: str, models: bool) -> Testbench:
        made, pins = self.made, list(self.cell.pins)
        made.lines = [f"* {self.cell.name}: a first testbench, guessed from the pins"]
        made.lines += [MODELS] if models else []
        made.lines += [f'{{% include "{template}" %}}', ""]
        for pin in [pin for pin in pins if is_rail(pin) and not is_ground(pin)]:
            self._supply(pin)
        rest = [pin for pin in pins if not is_rail(pin)]
        plus, minus = self._take(rest, _PLUS), self._take(rest, _MINUS)
        out, out_minus = self._take(rest, _OUTPUT), self._take(rest, _OUTPUT_MINUS)
        single = "" if plus else self._take(rest, _INPUT)
        driven = plus or single
        if driven:
            self._source(driven, "vcm", self.supply * _COMMON, " ac 1")
        if minus:
            self._second_input(out if not out_minus else "", minus)
        for pin in rest:
            self._other(pin)
        words = " ".join(self.nodes[pin] for pin in pins)
        made.lines.append(f"x1 {words} {escaped(self.cell.name)}")
        for pin in filter(None, (out, out_minus)):
            self._load(pin)
        response = self._response(out, out_minus) if driven else ""
        made.lines += [".ac dec 20 1 10g" if response else ".op", ".end"]
        self._measures(response, out)
        return made

    def _node(self, pin: str) -> str:
        plain = re.sub(r"\W+", "_", pin.lower(), flags=re.ASCII).strip("_")
        return "0" if is_ground(pin) else plain or "p"

    def _take(self, pins: list[str], names: re.Pattern[str]) -> str:
        """The first of `pins` that is called so, removed from them; empty where none is."""
        for pin in pins:
            if names.fullmatch(pin):
                pins.remove(pin)
                return pin
        return ""

    def _condition(self, name: str, value: float) -> str:
        """A condition in the template; one name for inputs with the same bias."""
        known = next((n for n in self.made.conditions if n == name and name == "vcm"), None)
        unique = known or self.new_name(name)
        self.made.conditions[unique] = value
        return f"{{{{ {unique} }}}}"

    def _supply(self, pin: str) -> None:
        node = self.nodes[pin]
        value = self._condition(node, self.supply)
        self.rail = self.rail or node
        name = node if node.startswith("v") else f"v{node}"
        self.made.lines.append(f"{name} {node} 0 {value}")

    def _source(self, pin: str, name: str, value: float, more: str = "") -> None:
        node = self.nodes[pin]
        self.made.lines.append(f"v_{node} {node} 0 {self._condition(name, value)}{more}")

    def _second_input(self, out: str, minus: str) -> None:
        """The inverting input: fed back at DC from a single output, else at the same bias."""
        if not out:
            self._source(minus, "vcm", self.supply * _COMMON)
            return
        self.made.lines += [
            '{% from "probes/dc_feedback.cir.j2" import dc_feedback %}',
            f'{{{{ dc_feedback("{self.nodes[out]}", "{self.nodes[minus]}") }}}}',
        ]

    def _other(self, pin: str) -> None:
        """A bias where the pin is called or connected like one; else it is held by 1 Gohm."""
        diode = next((d for d in self._at(pin) if d.is_transistor and d.gate == d.drain), None)
        node = self.nodes[pin]
        if diode is not None or (_CURRENT.fullmatch(pin) and self.rail):
            value = self._condition(node, _BIAS)
            into = self.rail and not (diode is not None and diode.is_p)
            ends = f"{self.rail} {node}" if into else f"{node} 0"
            self.made.lines.append(f"i_{node} {ends} {value}")
        elif pin.lower().startswith("v"):
            self._source(pin, node, self.supply * _COMMON)
        else:
            self.made.left.append(pin)
            self.made.lines.append(f"r_{node} {node} 0 1g")

    def _at(self, pin: str) -> list[Device]:
        scope = self.cell.name.lower()
        return [d for d in self.circuit.all_devices if d.scope == scope and pin.lower() in d.nodes]

    def _load(self, pin: str) -> None:
        known = "cload" in self.made.conditions
        value = "{{ cload }}" if known else self._condition("cload", _LOAD)
        self.made.lines.append(f"cl_{self.nodes[pin]} {self.nodes[pin]} 0 {value}")

    def _response(self, out: str, out_minus: str) -> str:
        if not out:
            return ""
        both = [self.nodes[pin] for pin in (out, out_minus) if pin]
        return f"v({', '.join(both)})"

    def _measures(self, response: str, out: str) -> None:
        if response:
            self._measure("gain", f"db(dc_gain({response}))", "dB", "min")
            self._measure("ugbw", f"unity_gain_frequency({response})", "Hz", "min")
            self._measure("pm", f"phase_margin({response})", "deg", "min")
            self._measure("bandwidth", f"bandwidth_3db({response})", "Hz", "min")
        if out:
            self._measure("vout", f"op(v({self.nodes[out]}))", "V", "")
        for line in self.made.lines:
            source = line.split()[0] if line.startswith("v") and "{{" in line else ""
            if source and line.split()[1] in map(self._node, filter(is_rail, self.cell.pins)):
                self._measure(f"i{line.split()[1]}", f"op(-i({source}))", "A", "max")

    def _measure(self, name: str, formula: str, unit: str, good: str) -> None:
        entry = {"expr": formula, "unit": unit}
        self.made.measures.append(Candidate(self.new_name(name), entry, good))
