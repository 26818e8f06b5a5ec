"""The circuits the engine is measured on, and their decks as a bare loop wants them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from m3eda_plugins.ngspice.names import save_name, sources

from bench.engine_loops import LoopDeck
from m3eda.design.space import Space
from m3eda.design.types import Sizing
from m3eda.flow import Project
from m3eda.simulate.cards import cards
from m3eda.simulate.evaluator import Evaluator
from m3eda.simulate.types import Deck

ROOT = Path(__file__).resolve().parent.parent
OP_AMP = ROOT / "examples" / "two_stage_opamp" / "design.yaml"
SKY130 = ROOT / "examples" / "sky130_ota" / "design.yaml"

_SPLIT = re.compile(r"([\s=]+)")
_DEVICE = re.compile(r"[rcm]\w*", re.IGNORECASE)
_SAMPLES = 32
"""Decks compared to find what changes from sizing to sizing."""


def reduced(project: Project, testbenches: Sequence[str]) -> Project:
    """The project with these testbenches alone, and what is measured on them."""
    design = project.design
    measures = {
        name: measure
        for name, measure in design.measures.items()
        if measure.testbench in (*testbenches, "")
    }
    kept = replace(
        design,
        testbenches={name: design.testbenches[name] for name in testbenches},
        measures=measures,
        specs={name: spec for name, spec in design.specs.items() if name in measures},
    )
    return replace(project, design=kept)


@dataclass(frozen=True)
class Skeleton:
    """The decks of one testbench: what is the same in all of them, and what is not."""

    words: tuple[str, ...]
    """The words of the deck and what stands between them."""
    holes: Mapping[int, str]
    """Which words change, by their index, and the parameter that stands for each."""

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.holes.values()))

    def point(self, text: str) -> tuple[str, ...] | None:
        """The values of a deck; None where it is a deck of another structure."""
        words = _SPLIT.split(text)
        if len(words) != len(self.words):
            return None
        same = all(
            word == mine or index in self.holes
            for index, (word, mine) in enumerate(zip(words, self.words, strict=True))
        )
        values = {name: words[index] for index, name in self.holes.items()}
        return tuple(values[name] for name in self.parameters) if same else None


def skeleton(texts: Sequence[str]) -> Skeleton:
    """What is common to `texts`; words that change together share a parameter."""
    split = [_SPLIT.split(text) for text in texts]
    columns = list(zip(*split, strict=True))
    names: dict[tuple[str, ...], str] = {}
    holes = {
        index: names.setdefault(column, f"bench_{len(names)}")
        for index, column in enumerate(columns)
        if len(set(column)) > 1
    }
    return Skeleton(tuple(split[0]), holes)


def loop_deck(made: Skeleton, deck: Deck) -> LoopDeck:
    """`made` with its values in `.param` lines, saving what the measures of `deck` use."""
    first = made.point("".join(made.words)) or ()
    given = [f".param {n}={v}" for n, v in zip(made.parameters, first, strict=True)]
    body = "".join(
        f"{{{made.holes[index]}}}" if index in made.holes else word
        for index, word in enumerate(made.words)
    )
    lines = _framed(body, deck, given)
    return LoopDeck(tuple(lines), made.parameters, _altered(body, made.parameters))


def plain_deck(deck: Deck) -> str:
    """The same as `ngspice -b` reads it, with values in place."""
    return "\n".join([*_framed(deck.text, deck, []), ""])


def _framed(text: str, deck: Deck, given: Sequence[str]) -> list[str]:
    title, *lines = text.strip().splitlines()
    wanted = chain.from_iterable(sources(v) for v in (*deck.vectors, *deck.device_values))
    save = f".save {' '.join(dict.fromkeys(save_name(name) for name in wanted))}"
    extra = ".option keepopinfo num_threads=1"
    return [title, extra, *given, *(line for line in lines if line != ".end"), save, ".end"]


def _altered(body: str, parameters: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What `alter` sets for each parameter; empty where one stands anywhere but as a value of an
    R, C or M of the circuit or of a subcircuit that the circuit uses."""
    netlist = [card.text.split() for card in cards(body)]
    paths: dict[str, list[str]] = {"": [""]}
    inside = ""
    for words in netlist:
        inside = _subcircuit(words, inside)
        if words[0][0].lower() == "x" and not inside:
            paths.setdefault(words[-1].lower(), []).append(f".{words[0].lower()}")
    found: dict[str, list[str]] = {name: [] for name in parameters}
    for words in netlist:
        inside = _subcircuit(words, inside)
        for word in words[1:]:
            key, _, value = word.rpartition("=")
            name = value.strip("{}")
            if name not in found or word == value.strip("{}"):
                continue
            if not _DEVICE.fullmatch(words[0]) or (words[0][0].lower() == "m" and not key):
                return ()
            device = words[0].lower()
            for path in paths.get(inside, []):
                full = f"{device[0]}{path}.{device}" if path else device
                found[name].append(f"@{full}[{key}]" if key else full)
    return tuple(tuple(devices) for devices in found.values())


def _subcircuit(words: Sequence[str], inside: str) -> str:
    if words[0].lower() == ".subckt":
        return words[1].lower()
    return "" if words[0].lower() == ".ends" else inside


@dataclass(frozen=True)
class Circuit:
    """A design to be measured on."""

    name: str
    title: str
    project: Project
    skeletons: Mapping[str, Skeleton]
    """By testbench."""
    loops: Mapping[str, LoopDeck]
    varied: bool
    """Whether some sizings have decks of another structure than that of the loops."""

    @property
    def alters(self) -> bool:
        """Whether every value can be changed by `alter`."""
        return all(loop.devices for loop in self.loops.values())


@dataclass(frozen=True)
class Point:
    """A sizing, and what it makes of each testbench."""

    sizing: Sizing
    decks: Mapping[str, Deck]
    values: Mapping[str, tuple[str, ...]]
    """Of each testbench's loop."""


def circuit(name: str, title: str, project: Project) -> Circuit:
    """The circuit of a project. Raises SimulatorMissing, DesignError."""
    evaluator = project.evaluator()
    sampled = [evaluator.decks(sizing) for sizing in _sizings(project, _SAMPLES, seed=0)]
    skeletons, loops, varied = {}, {}, False
    for testbench, deck in sampled[0].items():
        texts = [decks[testbench].text for decks in sampled]
        length = max(len(_SPLIT.split(text)) for text in texts)
        alike = [text for text in texts if len(_SPLIT.split(text)) == length]
        varied |= len(alike) < len(texts)
        skeletons[testbench] = skeleton(alike)
        loops[testbench] = loop_deck(skeletons[testbench], deck)
    return Circuit(name, title, project, skeletons, loops, varied)


def points(made: Circuit, count: int, seed: int) -> list[Point]:
    """Random sizings whose decks have the structure of the circuit's loops, so that all ways of
    simulating do the same."""
    evaluator = made.project.evaluator()
    found: list[Point] = []
    for sizing in _sizings(made.project, 4 * count + 16, seed):
        point = _point(made, evaluator, sizing)
        if point is not None and len(found) < count:
            found.append(point)
    return found


def any_points(made: Circuit, count: int, seed: int) -> list[Point]:
    """Random sizings whatever the structure of their decks."""
    evaluator = made.project.evaluator()
    chosen = _sizings(made.project, count, seed)
    return [Point(evaluator.complete(sizing), {}, {}) for sizing in chosen]


def _point(made: Circuit, evaluator: Evaluator, sizing: Sizing) -> Point | None:
    decks = evaluator.decks(sizing)
    values = {}
    for testbench, deck in decks.items():
        point = made.skeletons[testbench].point(deck.text)
        if point is None:
            return None
        values[testbench] = point
    return Point(evaluator.complete(sizing), decks, values)


def _sizings(project: Project, count: int, seed: int) -> list[Sizing]:
    space = Space(project.design)
    rng = np.random.default_rng(seed)
    return [space.sizing(rng.random(space.dimension)) for _ in range(count)]


def op_amp(testbenches: Sequence[str]) -> Circuit:
    """The two-stage op amp of examples/ with some of its testbenches."""
    project = reduced(Project.load(OP_AMP), testbenches)
    both = len(testbenches) > 1
    name = "opamp_ac_tran" if both else "opamp_ac"
    what = "AC + operating point, transient" if both else "AC + operating point"
    return circuit(name, f"two-stage op amp, {what}", project)


def sky130_ota() -> Circuit:
    """The OTA of examples/ in sky130. Raises DesignError where its models are not there."""
    return circuit("sky130_ota", "sky130 OTA, AC + operating point", Project.load(SKY130))


def bank(folder: Path, devices: int, parameters: int) -> Circuit:
    """Sections side by side, of a resistor from the input, a capacitor and a MOS diode to ground.

    The first `parameters` of its `devices` have a value of their own to be changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines, ranges = ["* bank", ".model nch nmos level=1 vto=0.5 kp=1e-4", "v1 in 0 dc 1 ac 1"], []
    for index in range(devices):
        kind, node = "rcm"[index % 3], index // 3
        wide = (1e2, 1e3) if kind == "r" else (1e-13, 1e-12) if kind == "c" else (1e-6, 1e-5)
        value = f"{wide[0]:g}"
        if index < parameters:
            value = f"{{{{ p{index} }}}}"
            ranges.append(f"  p{index}: {{min: {wide[0]:g}, max: {wide[1]:g}, scale: log}}")
        lines.append(
            {
                "r": f"r{index} in n{node} {value}",
                "c": f"c{index} n{node} 0 {value}",
                "m": f"m{index} n{node} n{node} 0 0 nch w={value} l=1e-6",
            }[kind]
        )
    (folder / "bank.cir.j2").write_text("\n".join([*lines, ".ac dec 5 1e3 1e8", ".end", ""]))
    (folder / "design.yaml").write_text(_BANK_DESIGN.format("\n".join(ranges), (devices - 1) // 3))
    name = f"bank_{devices}_{parameters}"
    title = f"{devices} devices, {parameters} parameters"
    return circuit(name, title, Project.load(folder / "design.yaml"))


_BANK_DESIGN = """m3eda: 1
design: bank
simulator: ngspice
testbenches: {{ac: bank.cir.j2}}
parameters:
{0}
measures:
  gain: {{testbench: ac, expr: dc_gain(v(n{1})), unit: V/V}}
specs:
  gain: {{min: 0}}
"""
