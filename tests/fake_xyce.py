"""A `Xyce` for PATH that answers with recordings of a real one, and a way to make them.

A recording is found by what the deck says: its text, and that of the files that it includes,
whose paths do not count. It holds the exit code, what was printed, the log and the tables; nothing
of models. To record, `RECORD_XYCE` names a real Xyce: see `make record-xyce`.

Run as a program this file is the fake; only the standard library, for it starts a hundred times.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

RECORDINGS = Path(__file__).parent / "recordings" / "xyce"
RECORD = "RECORD_XYCE"
VERSION_FILE = "version.txt"
TAKEN = (".csv", ".ma0", ".mt0", ".ms0", ".res", ".diag")
"""Endings of the outputs that are kept beside the log."""

_INCLUDE = re.compile(r"^\s*\.(?:inc|include|incl|lib)\s+(['\"]?)([^'\"\s]+)\1", re.IGNORECASE)
_TIMES = re.compile(r"(?s)\nTiming summary of.*")
_VARYING = re.compile(r"^.*(?:\bDate: .*|\bseconds?\b.*)\n", re.MULTILINE)
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/]+/)+")
_LONG_LOG = 6000


def install(folder: Path) -> Path:
    """A program `Xyce` in `folder`, which is made; its path."""
    folder.mkdir(exist_ok=True)
    program = folder / "Xyce"
    command = shlex.join([sys.executable, "-S", "-E", str(Path(__file__).resolve())])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    return program


def key_of(deck: Path) -> str:
    """What a deck says, as a short hash: comments apart, and wherever its includes lie."""
    digest = hashlib.sha256()
    _add(deck, digest, ())
    return digest.hexdigest()[:20]


def _add(path: Path, digest: hashlib._Hash, above: tuple[Path, ...]) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        if number == 0 and not above:
            continue  # the title
        line = line.strip()
        if not line or line.startswith("*"):
            continue
        match = _INCLUDE.match(line)
        included = path.parent / match[2] if match else None
        if match and included and included.is_file():
            digest.update(f"{line.split()[0]}{line[match.end(2) :]}\n".encode())
            if included not in (*above, path):  # a library may include itself
                _add(included, digest, (*above, path))
        else:
            digest.update(f"{line}\n".encode())


def store(key: str, recording: dict[str, object]) -> None:
    """Write a recording, the same bytes for the same content."""
    RECORDINGS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(recording, sort_keys=True, indent=0)
    (RECORDINGS / f"{key}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def load(key: str) -> dict[str, object] | None:
    """The recording of a deck, None where there is none."""
    try:
        packed = (RECORDINGS / f"{key}.json.gz").read_bytes()
    except FileNotFoundError:
        return None
    found: dict[str, object] = json.loads(gzip.decompress(packed))
    return found


def main(arguments: list[str]) -> int:
    """The fake itself: answers `-v` and one deck. Returns the exit code."""
    real = os.environ.get(RECORD, "")
    if arguments == ["-v"]:
        if real:
            told = subprocess.run([real, "-v"], capture_output=True, text=True, timeout=20)
            RECORDINGS.mkdir(parents=True, exist_ok=True)
            (RECORDINGS / VERSION_FILE).write_text(told.stdout.strip() + "\n")
        sys.stdout.write((RECORDINGS / VERSION_FILE).read_text())
        return 0
    deck = Path(arguments[-1])
    log = Path(arguments[arguments.index("-l") + 1]) if "-l" in arguments else None
    key = key_of(deck)
    if real:
        return _record(real, arguments, deck, log, key)
    recording = load(key)
    if recording is None:
        sys.stderr.write(
            f"the fake Xyce has no recording {key} of {deck.resolve()}: make record-xyce\n"
        )
        return 1
    return _replay(recording, deck, log)


def _replay(recording: dict, deck: Path, log: Path | None) -> int:
    for ending, text in recording["files"].items():
        Path(f"{deck}{ending}").write_text(text)
    if log is not None:
        log.write_text(recording["log"])
    sys.stdout.write(recording["stdout"])
    sys.stderr.write(recording["stderr"])
    sys.stdout.flush()
    if recording["hangs"]:
        time.sleep(600)
    return int(recording["rc"])


def _record(real: str, arguments: list[str], deck: Path, log: Path | None, key: str) -> int:
    process = subprocess.Popen([real, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    hangs = []

    def ended(number: int, frame: object) -> None:
        hangs.append(number)
        process.kill()

    signal.signal(signal.SIGTERM, ended)
    out, err = process.communicate()
    recording = {
        "deck": deck.name,
        "rc": process.returncode,
        "hangs": bool(hangs),
        "stdout": _short(out.decode(errors="replace")),
        "stderr": _short(err.decode(errors="replace")),
        "log": _short(log.read_text(errors="replace")) if log and log.exists() else "",
        "files": {} if hangs else _outputs(deck),
    }
    store(key, recording)
    return 0 if hangs else _replay(recording, deck, log)


def _outputs(deck: Path) -> dict[str, str]:
    """What Xyce wrote beside the deck, by what is added to the deck's name."""
    found = sorted(deck.parent.glob(f"{deck.name}.*"))
    return {
        path.name[len(deck.name) :]: path.read_text(errors="replace")
        for path in found
        if path.name.endswith(TAKEN) or re.search(r"\.m[ats]\d+$", path.name)
    }


def _short(log: str) -> str:
    """The log without what differs from run to run and machine to machine, or is long."""
    log = _FOLDERS.sub("", _VARYING.sub("", _TIMES.sub("\n", log)))
    if len(log) > _LONG_LOG:
        log = f"{log[: _LONG_LOG // 2]}\n(left out)\n{log[-_LONG_LOG // 2 :]}"
    return log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
