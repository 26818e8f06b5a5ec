"""The way a design's corners and samples are explored."""

from __future__ import annotations

from m3eda.design.types import Design
from m3eda.pvt.exploration import EXPLORATIONS, Exploration
from m3eda.pvt.for_yield import ForYield, Names


def make_exploration(design: Design, names: Names = lambda sizing: ()) -> Exploration:
    """The strategy that the design's sign-off names; without corners nothing is explored. Where a
    yield is wanted, samples of what `names` gives are drawn besides. Raises DesignError."""
    if design.variation is not None and design.variation.yield_target is not None:
        return ForYield(design, names, _of_corners)
    return _of_corners(design)


def _of_corners(design: Design) -> Exploration:
    if not design.signoff.corners:
        return Exploration(design)
    return EXPLORATIONS[design.signoff.strategy](design)
