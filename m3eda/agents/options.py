"""Options of agents as a user writes them: numbers, words and the extras they need."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from m3eda.errors import DesignError, Mistake, PluginError


def refuse(key: str, text: str, hint: str) -> DesignError:
    """The error for the option `key`, to be raised."""
    return DesignError([Mistake(text, key=f"agent.options.{key}", hint=hint)])


def whole(chosen: Mapping[str, Any], key: str, least: int = 0) -> int:
    """The option as a whole number. Raises DesignError where it is none or below `least`."""
    value = real(chosen, key, float(least))
    if value != int(value):
        raise refuse(key, f"{chosen[key]!r} is not a whole number", f"{least} or more")
    return int(value)


def real(chosen: Mapping[str, Any], key: str, least: float = 0.0) -> float:
    """The option as a finite number. Raises DesignError where it is none or below `least`."""
    value = chosen[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise refuse(key, f"{value!r} is not a number", f"{least:g} or more")
    if value < least:
        raise refuse(key, f"{value!r} is too small", f"{least:g} or more")
    return float(value)


def word(chosen: Mapping[str, Any], key: str, known: Iterable[str]) -> str:
    """The option as one of the words `known`. Raises DesignError where it is none of them."""
    value, words = chosen[key], list(known)
    if value not in words:
        near = difflib.get_close_matches(str(value), words, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(words)}"
        raise refuse(key, f"{value!r} is not known", hint)
    return str(value)


def extra(agent: str, module: str, package: str) -> ModuleType:
    """The module of an optional extra named as the agent. Raises PluginError without it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own, to its authors
            return import_module(module)
    except ImportError as error:
        text = f"agent {agent} needs {package}: pip install 'm3eda[{agent}]'"
        raise PluginError(text) from error
