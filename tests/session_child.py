"""Runs each bad deck in an ngspice session of a process of its own, and says what became of it.

`python -m tests.session_child DIRECTORY` prints one line of JSON a deck.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from m3eda_plugins.ngspice import ngspice

from m3eda.simulate.types import Deck, SimulationFailed, Waveforms
from tests.bad_decks import FAILURES, NMOS, START

GOOD = Deck(
    "good\nvdd vdd 0 1.8\nvin in 0 dc 0.7 ac 1\nrd vdd out 20k\nm1 out in 0 0 nch w=10u l=1u\n"
    f"c1 out 0 1p\n{NMOS}.ac dec 3 1k 1g\n.tran 1n 20n\n",
    vectors=("v(out)",),
    device_values=("@m1[gm]",),
)


def fingerprint(waveforms: Waveforms) -> list[str]:
    """Every vector's bytes."""
    return [
        f"{analysis.kind} {name} {vector.tobytes().hex()}"
        for analysis in waveforms.analyses
        for name, vector in analysis.vectors.items()
    ]


def told(folder: Path, text: str) -> dict[str, object]:
    """What a session makes of a good deck, this one, and the good one again."""
    session = ngspice({}).open(folder, strict=True)
    before = fingerprint(session.run(GOOD))
    try:
        session.run(Deck(START + text))
        found = {"state": "", "reason": ""}
    except SimulationFailed as failure:
        found = {"state": failure.state.name, "reason": failure.reason}
    after = None if session.broken else fingerprint(session.run(GOOD))
    return {**found, "broken": session.broken, "before": before, "after": after}


def main(folder: Path) -> None:
    for number, (name, (text, _, _)) in enumerate(FAILURES.items()):
        place = folder / str(number)
        place.mkdir()
        child = os.fork()
        if child == 0:
            line = json.dumps({"name": name, **told(place, text)})
            os.write(1, f"{line}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
