"""Where runs, and what was learnt of designs, are kept."""

from __future__ import annotations

from pathlib import Path

from m3eda.design.types import Design

LEARNT = "learned.npz"


def run_directory(design: Design) -> Path:
    """Where a run is kept unless the user names another place: runs/<design> beside the file."""
    return design.path.parent / "runs" / design.name


def learnt_file(design: Design) -> Path:
    """Where `m3eda learn` keeps what it has learnt of a design: in its run folder."""
    return run_directory(design) / LEARNT
