"""What a `.control` block of ngspice asks for, as cards.

m3eda runs the analyses that a netlist's cards ask for, and refuses control blocks. Analyses and
measurements are taken out of the block; the rest stays in the template as comments.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence

from m3eda.importing.cards import Card, names_in
from m3eda.importing.reader import Control, NetlistFile

_ANALYSES = ("op", "dc", "ac", "tran", "noise", "sp")
_MEAS = re.compile(r"meas(?:ure)?\s+(?:ac|dc|tran|noise|sp)\s+\S", re.IGNORECASE)
_TEMPERATURE = re.compile(r"(?:set|option)\s+temp\s*=\s*(\S+)", re.IGNORECASE)
_LOOPS = ("foreach", "while", "dowhile", "repeat", "alter", "altermod", "alterparam")


def cards_of(control: Control, file: NetlistFile) -> list[Card]:
    """The analyses and measurements of a block as cards; an analysis that the file has is left."""
    known = {" ".join(card.text.lower().split()) for card in file.cards}
    made: list[Card] = []
    computed = computed_in([command for _, command in control.commands])
    for index, command in control.commands:
        text = card_of(command, computed)
        if text and text.lower() not in known:
            known.add(text.lower())
            made.append(Card(text, file.path, ((0, index, 0),)))
    return made


def notes_of(controls: Sequence[Control]) -> Iterator[str]:
    """What a designer must know about the blocks."""
    if not controls:
        return
    yield ("the .control block is left out, since m3eda runs the cards of a netlist; its analyses "
           "and measurements have become cards, the rest are comments in the template")  # fmt: skip
    commands = [command for control in controls for _, command in control.commands]
    if any(command.split()[0].lower() in _LOOPS for command in commands):
        yield ("the .control block changes the circuit between analyses; the template has each "
               "analysis once, at the first values")  # fmt: skip


def temperature_of(controls: Sequence[Control]) -> str:
    """The temperature that a block sets, empty where none does."""
    for control in controls:
        for _, command in control.commands:
            if match := _TEMPERATURE.match(command):
                return match[1]
    return ""


def card_of(command: str, computed: Container[str]) -> str:
    """The card for a command; empty where there is none. `computed` are vectors of `let`s, which
    cards cannot use."""
    command = " ".join(command.split()).partition(" $ ")[0].partition(";")[0].rstrip()
    word = command.split()[0].lower() if command else ""
    measured = _MEAS.match(command) is not None
    if "$" in command or not (measured or word in _ANALYSES):
        return ""
    if any(name in computed for name in names_in(command)):
        return ""
    return f".meas {command.split(maxsplit=1)[1]}" if measured else f".{command}"


def computed_in(commands: Sequence[str]) -> dict[str, str]:
    """What the `let`s among commands compute: name in lower case -> formula."""
    found = {}
    for command in commands:
        words = command.split(maxsplit=1)
        name, equals, formula = words[1].partition("=") if len(words) == 2 else ("", "", "")
        if equals and words[0].lower() == "let":
            found[name.strip().lower()] = formula.strip()
    return found
