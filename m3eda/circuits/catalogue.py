"""The circuits there are: each a folder with a circuit.yaml, its templates and its targets."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from m3eda.circuits.schema import CircuitFile
from m3eda.design.extends import load_yaml
from m3eda.design.problems import Problems
from m3eda.design.schema import EXCLUSIVE
from m3eda.design.yamlfile import Document, nearest
from m3eda.errors import DesignError, Mistake, PluginWarning

FILE = "circuit.yaml"


@dataclass(frozen=True)
class Circuit:
    """A circuit of the library, as its circuit.yaml describes it."""

    path: Path
    """Its circuit.yaml."""
    file: CircuitFile

    @property
    def name(self) -> str:
        return self.file.circuit

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def technologies(self) -> tuple[str, ...]:
        """Names of the technologies it simulates in; the first is where it is at home."""
        return tuple(self.file.technologies)

    @property
    def sides(self) -> dict[str, str]:
        """Measure -> `min` or `max`, for each spec of its targets, in order."""
        targets = {**self.file.targets.traded, **self.file.targets.fixed}
        return {measure: next(iter(limit)) for measure, limit in targets.items()}

    def document(self) -> Document:
        """Its circuit.yaml read anew, to be changed at will."""
        return load_yaml(self.path, EXCLUSIVE)

    def targets_file(self, technology: str) -> Path:
        """Where its targets in `technology` are kept, whether there are any or not."""
        return self.folder / "targets" / f"{technology}.json"


def read_circuit(path: Path) -> Circuit:
    """The circuit of a circuit.yaml, or of a folder that has one. Raises DesignError."""
    path = path / FILE if path.is_dir() else path
    problems = Problems(load_yaml(path, EXCLUSIVE))
    file = problems.validated(CircuitFile)
    for measure, limit in (*file.targets.traded.items(), *file.targets.fixed.items()):
        known = file.measures
        kind = "traded" if measure in file.targets.traded else "fixed"
        if measure not in known:
            hint = nearest(measure, known) or f"known: {', '.join(known)}"
            problems.add(("targets", kind, measure), "is no measure", hint, of_key=True)
        if len(limit) != 1:
            problems.add(("targets", kind, measure), "needs one of min and max")
    for technology in file.overrides:
        if technology not in file.technologies:
            hint = nearest(technology, file.technologies) or "add it to technologies"
            problems.add(("overrides", technology), "is not among the technologies", hint,
                         of_key=True)  # fmt: skip
    problems.raise_all()
    return Circuit(path.resolve(), file)


@dataclass(frozen=True)
class Catalogue:
    """Circuits by name, each read when it is asked for."""

    paths: Mapping[str, Path]
    """Name -> circuit.yaml."""

    def names(self) -> list[str]:
        return sorted(self.paths)

    def circuit(self, name: str) -> Circuit:
        """The circuit called `name`, or that of a path. Raises DesignError."""
        if name in self.paths:
            return read_circuit(self.paths[name])
        if "/" in name or name.endswith(".yaml"):
            return read_circuit(Path(name).expanduser())
        hint = nearest(name, self.paths) or "`m3eda library` lists them"
        raise DesignError([Mistake(f"no circuit is called '{name}'", hint=hint)])

    def circuits(self) -> list[Circuit]:
        """Every circuit, by group and name; one that is damaged is told as a PluginWarning."""
        found = []
        for name in self.paths:
            try:
                found.append(self.circuit(name))
            except DesignError as error:
                line = str(error).partition("\n")[0]
                warnings.warn(f"{name} is left out: {line}", PluginWarning, stacklevel=2)
        return sorted(found, key=lambda each: (each.file.group, each.name))

    def search(self, words: Iterable[str]) -> list[Circuit]:
        """The circuits in whose words every one of `words` occurs, the best match first."""
        wanted = [word.lower() for word in words]
        ranked = []
        for circuit in self.circuits():
            places = _places(circuit)
            ranks = [next((i for i, text in enumerate(places) if word in text), -1)
                     for word in wanted]  # fmt: skip
            if -1 not in ranks:
                ranked.append((sum(ranks), circuit.name, circuit))
        return [circuit for *_, circuit in sorted(ranked, key=lambda each: each[:2])]


def _places(circuit: Circuit) -> list[str]:
    """The texts that a search looks into, the most telling first, in lower case."""
    file = circuit.file
    texts = [
        file.circuit.replace("_", " ") + " " + file.circuit,
        " ".join([*file.keywords, file.group]),
        file.title,
        " ".join([*file.measures, *file.technologies]),
        file.description,
    ]
    return [text.lower() for text in texts]
