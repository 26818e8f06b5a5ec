"""Which circuits and technologies a policy may meet in training, and which only afterwards.

Whole circuits and whole technologies are kept apart. A circuit's split is the word `split` of its
circuit.yaml; a technology's stands here. Every split takes its circuits in its own technologies:
what is tested on is new in both. A known circuit in a new technology, or a new circuit in a known
technology, is asked for by two splits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from m3eda.circuits.catalogue import Catalogue, Circuit
from m3eda.design.yamlfile import nearest
from m3eda.errors import DesignError, Mistake

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

TECHNOLOGIES: dict[str, Split] = {
    "generic180": "train",
    "generic130": "train",
    "generic65": "train",
    "generic45": "train",
    "generic90": "validation",
    "generic22": "test",
    "sky130": "test",
}
"""The smallest node and the one real process kit are for the test: nothing trained on lies beyond
the one, or has the models of the other."""


def check_split(word: str) -> Split:
    """`word`, one of train, validation and test. Raises DesignError."""
    for split in SPLITS:
        if word == split:
            return split
    hint = nearest(word, SPLITS) or f"known: {', '.join(SPLITS)}"
    raise DesignError([Mistake(f"no split is called '{word}'", hint=hint)])


def split_of(technology: str) -> Split:
    """The split of a technology; one that is not the library's is its owner's to train on."""
    return TECHNOLOGIES.get(technology, "train")


def technologies_of(split: str, names: Iterable[str] = TECHNOLOGIES) -> list[str]:
    """Those of `names` that belong to `split`, in order. Raises DesignError."""
    wanted = check_split(split)
    return [name for name in names if split_of(name) == wanted]


def circuits_of(split: str, catalogue: Catalogue) -> list[Circuit]:
    """The circuits of `split`, by name. Raises DesignError."""
    wanted = check_split(split)
    circuits = (catalogue.circuit(name) for name in catalogue.names())
    return [circuit for circuit in circuits if circuit.file.split == wanted]
