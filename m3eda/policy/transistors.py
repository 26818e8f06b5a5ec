"""What the transistors of a design do: simulated once, and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.coarse.characterise import Wanted, decks_of, kinds_of, models_of
from m3eda.coarse.transistor import Kind
from m3eda.errors import StorageError
from m3eda.importing.devices import Circuit
from m3eda.report.atomic import make_directory, write_atomic
from m3eda.simulate.cache_place import TABLES, cache_folder, parse_size
from m3eda.simulate.files import content_hash, included_files
from m3eda.simulate.types import Deck, Simulator, Waveforms

FORMAT = 6
TIMEOUT = 120.0


class SimulatedTransistors:
    """By a simulator, or as it told before."""

    def __init__(self, simulator: Simulator, version: str, timeout: float = TIMEOUT) -> None:
        """`timeout` is of one deck, s."""
        self._simulator, self._version, self._timeout = simulator, version, timeout
        self.simulations = 0
        """Decks that were simulated here or before."""

    def __call__(
        self, wanted: Sequence[Wanted], circuit: Circuit, supply: float, celsius: float
    ) -> Mapping[str, Kind]:
        """Model -> what its transistors do. Raises SimulationFailed, Unsupported."""
        text, files = models_of(circuit, celsius)
        decks = decks_of(wanted, text, supply)
        self.simulations += len(decks)
        place = self._place(decks, files, celsius)
        found = _read(place)
        if found is None or found.keys() != {each.model for each in wanted}:
            found = kinds_of(wanted, self._simulated(decks), supply, celsius)
            _keep(place, found)
        return found

    def _simulated(self, decks: Sequence[Deck]) -> list[Waveforms]:
        found = []
        with tempfile.TemporaryDirectory(prefix="m3eda-") as folder:
            for number, deck in enumerate(decks):
                rundir = Path(folder) / str(number)
                rundir.mkdir()
                found.append(self._simulator.run(deck, rundir, self._timeout))
        return found

    def _place(self, decks: Sequence[Deck], files: Sequence[Path], celsius: float) -> Path | None:
        """Where it is kept; None where the user has turned the cache off, or has none."""
        folder = cache_folder(os.environ)
        try:
            off = parse_size(os.environ.get("M3EDA_CACHE_SIZE") or "1") == 0
        except ValueError:
            off = False
        if folder is None or off:
            return None
        every = [each for path in files for each in (path, *included_files(path))]
        deciding = json.dumps([FORMAT, self._version, celsius, [deck.text for deck in decks],
                               [content_hash(path) for path in dict.fromkeys(every)]])  # fmt: skip
        return folder / TABLES / f"{hashlib.sha256(deciding.encode()).hexdigest()[:32]}.json"


def _read(path: Path | None) -> dict[str, Kind] | None:
    """What is kept in `path`; None where there is nothing that is whole."""
    if path is None:
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {model: _kind(each) for model, each in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _kind(kept: Mapping[str, Any]) -> Kind:
    values: dict[str, Any] = {key: np.array(value) if isinstance(value, list) else float(value)
                              for key, value in kept.items()}  # fmt: skip
    return Kind(**values)


def _keep(path: Path | None, found: Mapping[str, Kind]) -> None:
    """Write it where the cache can be written; without it the next call simulates again."""
    if path is None:
        return
    kept = {model: {key: value.tolist() if isinstance(value, np.ndarray) else value
                    for key, value in asdict(kind).items()}
            for model, kind in found.items()}  # fmt: skip
    try:
        make_directory(path.parent)
        write_atomic(path, json.dumps(kept))
    except StorageError:
        return
