"""Whether what a simulator gave has the form of `Waveforms`: a stranger's code may give anything.

A vector of the wrong length, or a scale that is not real, would be measured as a wrong number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from m3eda.simulate.types import Analysis, AnalysisKind, Waveforms

_KINDS = frozenset(get_args(AnalysisKind))
_NUMBERS = "fciu"
"""Kinds of numpy's types that are numbers."""


def flaw(given: Any) -> str:
    """What is wrong with `given`, in words that follow `gave`; empty where nothing is."""
    if not isinstance(given, Waveforms):
        return f"a {type(given).__name__}, not Waveforms"
    analyses: Any = given.analyses
    if not isinstance(analyses, (tuple, list)):
        return f"a {type(analyses).__name__} as analyses (expected a tuple)"
    for name in ("seconds", "cpu_seconds"):
        seconds = getattr(given, name)
        if not isinstance(seconds, (int, float)) or not 0.0 <= seconds < math.inf:
            return f"{name} = {seconds!r} (expected a number from 0)"
    for analysis in analyses:
        if not isinstance(analysis, Analysis):
            return f"a {type(analysis).__name__} as an analysis (expected an Analysis)"
        if words := _flaw_of(analysis):
            return words
    return ""


def _flaw_of(analysis: Analysis) -> str:
    kind, scale = analysis.kind, analysis.scale
    vectors: Any = analysis.vectors
    if kind not in _KINDS:
        return f"an analysis of kind {kind!r} (known: {', '.join(sorted(_KINDS))})"
    if not isinstance(vectors, Mapping):
        return f"a {type(vectors).__name__} as vectors of {kind} (expected name to array)"
    if scale and scale not in vectors:
        return f"{kind} vectors without their scale {scale!r}"
    size = None
    for name, y in vectors.items():
        if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in _NUMBERS:
            what = f"{y.dtype}, shape {y.shape}," if isinstance(y, np.ndarray) else type(y).__name__
            return f"{what} for {name} of {kind} (expected an array of numbers, shape (n,))"
        size = y.size if size is None else size
        if y.size != size:
            return f"{y.size} points of {name} in {kind}, and {size} of the vector before it"
    if scale and vectors[scale].dtype.kind == "c" and vectors[scale].imag.any():
        return f"a {scale} in {kind} that is not real"
    return ""
